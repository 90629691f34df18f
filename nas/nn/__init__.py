"""Neural networks: a graph as a torch module, its layers and quantizers; imports no other room."""
