"""Devices: where networks run, and what a latency is; imports no other room."""
