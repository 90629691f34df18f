"""Processes of a local cluster: found by what only they have, and ended.

Ray's agents outlive a raylet that is killed, as nobody's children and with a title in place of
their arguments and environment; they are known by the files that they keep open. Names alone
would also name the processes of other clusters.
"""

import os
from pathlib import Path

import psutil

MARK = "HWNAS_CLUSTER"  # environment variable of all processes: the cluster's temporary folder
TITLE = "ray::"
GRACE_S = 3.0
ROUNDS = 5  # what is being ended may start something else


def find_processes(temp: Path) -> list[psutil.Process]:
    """Returns the live processes of the cluster whose temporary folder is ``temp``.

    A search that is connected to it is none of them.
    """
    found = {p.pid: p for p in psutil.process_iter() if belongs(p, temp)}
    for process in list(found.values()):
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:
            continue
    found.pop(os.getpid(), None)
    return [process for process in found.values() if is_live(process)]


def belongs(process: psutil.Process, temp: Path) -> bool:
    try:
        if process.environ().get(MARK) == str(temp):
            return True
        arguments = process.cmdline()
        return bool(arguments) and arguments[0].startswith(TITLE) and has_open(process.pid, temp)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return False


def has_open(pid: int, folder: Path) -> bool:
    """Whether a process has a file in ``folder`` open, deleted ones included."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link).startswith(f"{folder}/"):
                return True
        except OSError:
            continue
    return False


def is_live(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_processes(temp: Path) -> int:
    """Ends every process of a cluster, gently at first; returns how many there were.

    Each is ended by its process id and the time it was created at (psutil checks both), so one
    that took over a process id is never hit.
    """
    ended: set[int] = set()
    for _ in range(ROUNDS):
        processes = find_processes(temp)
        if not processes:
            break
        ended |= {process.pid for process in processes}
        for process in processes:
            signal(process, gently=True)
        _, left = psutil.wait_procs(processes, timeout=GRACE_S)
        for process in left:
            signal(process, gently=False)
        psutil.wait_procs(left, timeout=GRACE_S)
    return len(ended)


def signal(process: psutil.Process, *, gently: bool) -> None:
    try:
        if gently:
            process.terminate()
        else:
            process.kill()
    except psutil.Error:  # gone meanwhile
        return
