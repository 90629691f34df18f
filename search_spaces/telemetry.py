"""Telemetry: what libraries would send home or note in the user's folders is switched off.

They look at these variables when they are imported, so `switch_off` runs with the first import of
any of the three packages, and the processes that these start inherit it. Who sets a variable
differently means it, and is left alone. docs/decisions/015-telemetry.md lists every dependency.
"""

import os

SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime: files in the home folder, events in a queue
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray: reports of clusters that are started here
}


def switch_off() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
