"""Code generation: vector instructions in TVM; imports devices."""
