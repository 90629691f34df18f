"""Insight: what a surrogate makes of a run for people: what it learned, and what to try next."""
