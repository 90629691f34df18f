"""Searching: data, training, objectives, studies, export, command line."""
