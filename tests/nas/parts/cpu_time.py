"""Seconds that commands compute, which do not depend on what else the machine does."""

import resource


def cpu_seconds_of_children() -> float:
    """What processes took that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
