"""Predicting latency: kernels as numbers, models of kernels, and networks as their sum."""
