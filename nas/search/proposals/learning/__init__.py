"""Learning: what finished trials teach of those to come; may import problem and study."""
