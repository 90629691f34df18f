"""Training: throughput of the interpreter, and what parts of a recipe bring."""
