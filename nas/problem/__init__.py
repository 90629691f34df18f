"""Problem: what is searched, read from a run file and checked; imports data."""
