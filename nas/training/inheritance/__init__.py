"""Inheritance: candidates that begin with the weights of another, and are trained for less."""
