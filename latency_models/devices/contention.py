"""Contention: what takes CPU time away from this machine's timing, as its system tells.

A reading waits until a reference kernel runs at its best, but a best that was itself found under a
quota or beside a neighbour says nothing; so what the system knows of them is said beside readings.
"""

from collections.abc import Callable
from pathlib import Path
from time import sleep

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
NOTABLE = 0.1  # share of the time
SAMPLE_S = 0.2


def contention(threads: int = 1) -> str:
    """Returns in one line what slows this machine down now; "" where nothing is known to.

    Args:
        threads: CPUs that readings need.
    """
    said = []
    quota = cpu_quota()
    if quota is not None and quota < threads:
        said.append(
            f"this process may use {quota:.3g} CPUs (a cgroup's quota), so what runs for longer "
            "than a moment takes longer than its reading"
        )
    if (waiting := pressure()) > NOTABLE:
        said.append(f"others were waiting for a CPU {waiting:.0%} of the last 10 s")
    if (stolen := steal()) > NOTABLE:
        said.append(f"the machine's host takes {stolen:.0%} of its CPU time")
    return "; ".join(said)


def cpu_quota(cgroups: Path = CGROUPS, proc: Path = PROC) -> float | None:
    """Returns how many CPUs this process may use at most; None where nothing limits it.

    Both versions of control groups are read, and of nested groups the tightest counts.
    """
    found = []
    for line in text_of(proc / "self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            found += [quota_of(place / "cpu.max") for place in upwards(cgroups, path)]
        elif "cpu" in controllers.split(","):
            root = cgroups / controllers
            found += [quota_of_first(place) for place in upwards(root, path)]
    return min((quota for quota in found if quota is not None), default=None)


def upwards(root: Path, path: str) -> list[Path]:
    """Returns the folders from a control group up to the root."""
    place = root / path.strip("/")
    return [place, *(parent for parent in place.parents if parent.is_relative_to(root))]


def quota_of(file: Path) -> float | None:
    """Reads version 2: ``QUOTA PERIOD``, or ``max PERIOD``."""
    quota, period, *_ = *text_of(file).split(), "", ""
    return share(quota, period)


def quota_of_first(place: Path) -> float | None:
    """Reads version 1: a file each, -1 for no quota."""
    return share(text_of(place / "cpu.cfs_quota_us"), text_of(place / "cpu.cfs_period_us"))


def share(quota: str, period: str) -> float | None:
    try:
        found = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return found if found > 0 else None


def pressure(proc: Path = PROC) -> float:
    """Returns the share of the last 10 s in which something waited for a CPU; 0 if unknown."""
    for word in text_of(proc / "pressure/cpu").split():
        if word.startswith("avg10="):
            return float(word.removeprefix("avg10=")) / 100
    return 0.0


def steal(proc: Path = PROC, wait: Callable[[float], None] = sleep) -> float:
    """Returns the share of CPU time that a virtual machine's host took just now; 0 if unknown."""
    before = jiffies(proc)
    wait(SAMPLE_S)
    passed = [after - start for after, start in zip(jiffies(proc), before, strict=False)]
    return passed[7] / sum(passed[:8]) if len(passed) > 7 and sum(passed[:8]) > 0 else 0.0


def jiffies(proc: Path) -> list[int]:
    """Returns CPU time by kind: user, nice, system, idle, iowait, irq, softirq, steal, ..."""
    first = text_of(proc / "stat").splitlines()[:1]
    return [int(word) for word in first[0].split()[1:]] if first else []


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
