"""Quantization: codes of weights and maps, and the quantizers of a graph; imports graphs."""
