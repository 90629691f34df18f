"""ONNX: a model as a file of ONNX Runtime, and how far files may differ; imports devices."""
