"""Importing: networks from ONNX files and torch modules, kept if they compute the same."""
