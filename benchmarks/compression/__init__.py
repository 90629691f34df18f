"""Compression of trained networks, measured: accuracy, parameters, bytes and milliseconds."""
