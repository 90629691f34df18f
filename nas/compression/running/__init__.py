"""Running: a recipe from its file to its result, and its folder, which it is resumed from."""
