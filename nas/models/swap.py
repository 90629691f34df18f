"""Swapping: a folder that is made beside its place and takes it in one step.

A folder that is being made holds a lock on itself, which ends with its process: what a killed one
has left is told from what another one is writing, whatever the machine calls its processes.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from nas.runs.files import DiskFullError, is_full

AT_FDCWD, RENAME_EXCHANGE = -100, 2
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP)
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def folder_beside(to: Path) -> Iterator[Path]:
    """Gives a new folder beside ``to`` that takes its place at the end, or is removed.

    What processes that were killed have left beside it is removed, and a folder that stood here
    when one was killed is put back.

    Raises:
        DiskFullError: If there is no room for it.
    """
    to = to.resolve()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        tidy(to)
        with locked_folder(to, "part") as part:
            try:
                yield part
                replace_folder(part, to)
                tidy(to)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"the disk is full: cannot write {to}; free some space and try again"
            ) from None
        raise


def replace_folder(new: Path, place: Path) -> None:
    """Moves ``new`` to ``place`` in one step; what was there comes to lie at ``new``."""
    while True:
        try:
            new.rename(place)
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        try:
            exchange(new, place)
            return
        except FileNotFoundError:
            continue  # what was there has just gone
        except OSError as error:
            if error.errno not in NO_EXCHANGE:
                raise
        set_aside(place)


def exchange(one: Path, other: Path) -> None:
    """Lets two paths change places, so that neither is missing at any moment.

    Raises:
        OSError: With an error of ``NO_EXCHANGE`` where the system or its disk cannot.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def set_aside(place: Path) -> None:
    """Moves a folder out of the way, on disks that cannot exchange; `tidy` knows its name."""
    try:
        place.rename(beside(place, "old"))
    except FileNotFoundError:
        return  # another process has done so


@contextmanager
def locked_folder(place: Path, kind: str) -> Iterator[Path]:
    """Makes a folder beside ``place`` that is locked until the end."""
    handle = None
    while handle is None:
        folder = beside(place, kind)
        folder.mkdir()
        handle = locked(folder)
    try:
        yield folder
    finally:
        os.close(handle)


def locked(folder: Path) -> int | None:
    """Returns a handle that holds a new folder; None where `tidy` was faster and removed it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a disk without locks: such a folder is never tidied away
        fcntl.flock(handle, fcntl.LOCK_SH)
    if folder.exists():
        return handle
    os.close(handle)
    return None


def beside(place: Path, kind: str) -> Path:
    return place.with_name(f".{place.name}.{uuid4().hex[:12]}.{kind}")


def tidy(place: Path) -> None:
    """Puts back what was set aside where nothing stands, and removes what nobody works on."""
    for folder in leftovers(place, "old"):
        if not place.exists():
            with suppress(OSError):  # another process was faster
                folder.rename(place)
    for kind in ("old", "part"):
        for folder in leftovers(place, kind):
            remove_abandoned(folder)


def leftovers(place: Path, kind: str) -> list[Path]:
    """Returns the folders beside ``place`` that were made for it, newest first."""
    start, end = f".{place.name}.", f".{kind}"
    found = [
        path
        for path in place.parent.iterdir()
        if path.name.startswith(start)
        and path.name.endswith(end)
        and "." not in path.name[len(start) : -len(end)]
        and path.is_dir()
    ]
    return sorted(found, key=changed_at, reverse=True)


def changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove_abandoned(folder: Path) -> None:
    """Removes a folder, unless a process works on it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # another process holds it
    finally:
        os.close(handle)
