"""Runs: one run on disk, its files, locks and evaluations; imports data."""
