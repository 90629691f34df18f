"""Reading: an ONNX file of others as a model, kept if it computes what the file computes."""
