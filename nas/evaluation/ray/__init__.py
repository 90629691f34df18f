"""Ray: candidates on a cluster, and what becomes of them when it fails; imports evaluation."""

import os

# A thread that outlives the connection must not make Ray start a cluster of its own.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
