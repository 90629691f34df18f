"""Compression: what makes a trained network smaller and faster, step by step; imports export."""
