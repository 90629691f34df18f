"""Sources of labelled images: what is there, and its pixels, decoded once; imports data, nn."""
