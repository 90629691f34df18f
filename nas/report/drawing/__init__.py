"""Drawing: pieces of pages, charts, and the picture of a front; may import findings."""
