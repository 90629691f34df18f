"""Given models: trained networks that people name by a path, a folder or an archive."""
