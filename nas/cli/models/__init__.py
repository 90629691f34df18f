"""Models: commands that bring models in, make them small, and let them answer."""
