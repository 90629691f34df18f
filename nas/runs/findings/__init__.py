"""Findings: what runs found, as data: fronts, tables of trials, lists and comparisons of runs."""
