"""Kernels: what one operator compiles to, as TVM functions over flat float32 memory."""
