"""Steps: what a recipe is made of, one file each."""
