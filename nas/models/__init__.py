"""Models: trained networks as folders, wherever they come from: imports, exports, compression."""
