"""Spaces: what a search may pick, and what its picks make; imports every other room."""
