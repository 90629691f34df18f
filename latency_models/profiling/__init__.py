"""Profiling: which kernels and networks of a space are timed on a device, and what is kept."""
