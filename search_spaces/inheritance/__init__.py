"""Inheritance: what a network takes over from a trained one that is like it."""
