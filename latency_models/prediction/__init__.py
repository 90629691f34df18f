"""Prediction: kernels as numbers, and models of them; imports measurement."""
