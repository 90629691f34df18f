"""All kinds for minutes, each in a process with limits: ``python -m tests.fuzz [KIND ...]``.

A process that dies or hangs is begun anew behind the seed that it was at. What went wrong is
printed with its seed, by which ``--seed`` tries it again.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from time import monotonic

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import LIMIT_S, verdict

MEMORY_BYTES = 6 << 30
GRACE_S = 300  # beyond an attempt's own limit, for imports on a busy machine and calls into C


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND")
    parser.add_argument("--seconds", type=float, default=110.0, help="for each kind")
    parser.add_argument("--seed", type=int, help="try this one alone")
    parser.add_argument("--from-seed", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.seed is not None:
        return sum(report(name, given.seed, tried(name, given.seed)) for name in given.kinds)
    if given.from_seed is not None:
        return work(given.kinds[0], given.from_seed, given.seconds)
    with ThreadPoolExecutor(2) as pool:
        wrong = list(pool.map(lambda name: watch(name, given.seconds), given.kinds))
    return min(sum(wrong), 1)


def tried(name: str, seed: int) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        return verdict(KINDS[name](Path(folder)), seed)


def report(name: str, seed: int, wrong: str | None) -> int:
    if wrong is not None:
        print(f"{name}, seed {seed}: {wrong}", flush=True)
    return wrong is not None


def work(name: str, seed: int, seconds: float) -> int:
    """Tries one mutation after another and tells its parent at which it is."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    end, told = monotonic() + seconds, os.fdopen(3, "w")
    with tempfile.TemporaryDirectory() as folder:
        kind = KINDS[name](Path(folder))
        for each in count(seed):
            print(each, file=told, flush=True)
            report(name, each, verdict(kind, each))
            if monotonic() > end:
                return 0
    return 0


def watch(name: str, seconds: float) -> int:
    """Has a kind tried in children; returns how many mutations went wrong."""
    end, seed, wrong = monotonic() + seconds, 0, 0
    while (left := end - monotonic()) > 0 or seed == 0:
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "tests.fuzz", name, "--from-seed", str(seed)]
        child = subprocess.Popen(
            [*("bash", "-c", f'exec "$@" 3>&{writing}', "-"), *command, f"--seconds={left:.0f}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(writing,),
        )
        os.close(writing)
        timed_out = False
        try:
            said, _ = child.communicate(timeout=left + LIMIT_S + GRACE_S)
        except subprocess.TimeoutExpired:
            timed_out = True
            child.kill()
            said, _ = child.communicate()
        with os.fdopen(reading) as told:
            seen = told.read().split()
        seed = int(seen[-1]) + 1 if seen else seed + 1
        wrong += said.count(f"{name}, seed ")
        print(said, end="", flush=True)
        if child.returncode:
            how = "did not end" if timed_out else f"ended with {child.returncode}"
            print(f"{name}, seed {seed - 1}: the process {how}", flush=True)
            wrong += 1
    print(f"{name}: {seed} tried, {wrong} went wrong", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
