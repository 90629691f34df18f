"""Kernels: what one operator compiles to, over flat float32 memory; imports codegen."""
