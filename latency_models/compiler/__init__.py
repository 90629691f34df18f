"""Compiler: a graph as kernels, memory and a library; imports kernels and boards."""
