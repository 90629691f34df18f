"""Building: what a block is built with; imports graphs and quantization."""
