"""Drafts: a network while it is read from a file, and what turns it into one of ours."""
