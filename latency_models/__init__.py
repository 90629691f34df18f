"""What a network costs on a device: compiled kernels, runtimes, timing."""
