"""Profiling: what of a space is timed on a device, and what is kept; imports prediction."""
