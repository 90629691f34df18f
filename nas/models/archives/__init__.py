"""Archives: a trained network as one small file, its pruned and shared weights coded."""
