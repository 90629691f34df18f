"""Archives: what trained and made up networks shrink to, and how fast they are read."""
