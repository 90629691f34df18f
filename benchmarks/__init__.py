"""Benchmarks: each prints a table and writes JSON with machine, versions and command."""

import search_spaces  # noqa: F401  (switches reports off before libraries are imported)
