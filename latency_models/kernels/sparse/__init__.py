"""Sparse: kernels of layers of which only the weights that are kept are stored and read."""
