"""Supernet: weights that all networks of a space share, and accuracies of their slices."""
