"""Searching on a Ray cluster: connecting, checking, training, measuring, and a cluster to try."""

import os

# A thread that outlives the connection must not make Ray start a cluster of its own.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
