"""Report of a compression: what each step did, for people."""
