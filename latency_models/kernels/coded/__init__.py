"""Coded kernels: layers whose weights, or the maps they read, are signs, bits or integers."""
