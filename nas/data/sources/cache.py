"""Cache: decoded pixels as files, mapped into memory and shared by all processes that read them.

An entry is a folder named after everything that its pixels depend on; what was used longest ago
goes first once all together are larger than ``HWNAS_IMAGES_GIB`` (20).
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL

from latency_models.devices.folders import cache_folder
from nas.data.images import Pixels
from nas.nn.memory import free_bytes
from search_spaces.graphs.errors import UserError

VERSION = 1  # of how pixels are made; another one decodes anew
PIXELS, ABOUT = "pixels.npy", "about.json"
ABANDONED_S = 24 * 3600.0  # a half-written entry this old belongs to a process that was killed


class Undecoded(Protocol):
    """Images whose pixels are still to be made."""

    def forms(self) -> tuple["Undecoded", ...]:
        """Returns what these may turn out to be, as far as that can be said without a look."""
        ...

    def settled(self) -> "Undecoded":
        """Returns the one of them that these are.

        Raises:
            UserError: If the images have no one shape, or cannot be read; the message names all.
        """
        ...

    @property
    def identity(self) -> tuple[object, ...]:
        """What the pixels depend on, as values with a ``repr``: files, their dates, settings."""
        ...

    def shape(self) -> tuple[int, int, int, int]:
        """Returns ``(N, H, W, C)`` of what is settled."""
        ...

    def decode(self, out: Pixels, /) -> tuple[str, ...]:
        """Writes the pixels into ``out`` and returns what people should know about it.

        Raises:
            UserError: If images cannot be read; the message names all.
        """
        ...


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Decoded pixels of one source.

    Attributes:
        shape: ``(N, H, W, C)``.
        used_s: When it was last opened, in seconds since 1970.
        notes: What decoding has found.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    num_bytes: int
    used_s: float
    notes: tuple[str, ...]


def images_folder() -> Path:
    """Returns the folder of decoded pixels: ``HWNAS_IMAGES``, or ``images`` in the cache."""
    return Path(os.environ.get("HWNAS_IMAGES") or cache_folder() / "images")


def limit_bytes() -> int:
    """Returns how large all entries together may be.

    Raises:
        UserError: If ``HWNAS_IMAGES_GIB`` is no number.
    """
    given = os.environ.get("HWNAS_IMAGES_GIB", "20")
    try:
        return int(max(0.0, float(given)) * 2**30)
    except (ValueError, OverflowError):
        raise UserError(f"HWNAS_IMAGES_GIB must be a number of GiB, got {given!r}") from None


def kept_pixels(name: str, undecoded: Undecoded) -> tuple[Pixels, tuple[str, ...]]:
    """Returns all pixels and what decoding has found; decoded now, unless they are kept already.

    Where the folder cannot keep them, they are decoded into memory, and the notes say so.

    Raises:
        UserError: If images cannot be read, or fit neither on disk nor in memory.
    """
    kept = (read_entry(path_of(form)) for form in undecoded.forms())
    if (entry := next(filter(None, kept), None)) is None:
        undecoded = undecoded.settled()
        path, shape = path_of(undecoded), undecoded.shape()
        if why := why_not_kept(path.parent, prod(shape)):
            return in_memory(name, undecoded, shape, why)
        try:
            with locked(path):
                if (entry := read_entry(path)) is None:  # nobody else has made it meanwhile
                    entry = make_entry(path, name, undecoded, shape)
        except OSError as error:  # the folder took nothing after all
            return in_memory(name, undecoded, shape, f"{path.parent}: {error.strerror or error}")
    pixels = np.load(entry.path / PIXELS, mmap_mode="c")  # writes, if any, stay in this process
    return np.asarray(pixels), entry.notes


def path_of(undecoded: Undecoded) -> Path:
    """Returns where the pixels are kept, or would be."""
    known = repr((VERSION, PIL.__version__, undecoded.identity))
    return images_folder() / sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read_entry(path: Path) -> CacheEntry | None:
    """Returns the entry at ``path``, marked as used; None where none is, or a damaged one was."""
    try:
        entry = entry_at(path)
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(path, ignore_errors=True)
        return None
    with suppress(OSError):  # of a folder that others keep, and this user may only read
        os.utime(path)
    return entry


def entry_at(path: Path) -> CacheEntry:
    about: dict[str, Any] = json.loads((path / ABOUT).read_text("utf-8"))
    stat = (path / PIXELS).stat()
    if stat.st_size != about["file_bytes"]:
        raise ValueError("cut off")
    notes = tuple(map(str, about["notes"]))
    shape = tuple(map(int, about["shape"]))
    return CacheEntry(path, str(about["name"]), shape, stat.st_size, path.stat().st_mtime, notes)


def make_entry(path: Path, name: str, undecoded: Undecoded, shape: tuple[int, ...]) -> CacheEntry:
    """Decodes into a folder beside, which becomes the entry once it is whole."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed: the lock is ours
    part.mkdir()
    try:
        out = reserved(part / PIXELS, shape)
        notes = undecoded.decode(out)
        out.flush()
        size = (part / PIXELS).stat().st_size
        about = {"name": name, "shape": shape, "notes": notes, "file_bytes": size}
        (part / ABOUT).write_text(json.dumps(about), "utf-8")
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    make_room(path.parent, kept=path)
    return entry_at(path)


def reserved(path: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """Returns pixels to write in a new file, which has its room on the disk.

    Without that, a disk that gets full would end the process where it writes.
    """
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return out


def entries(folder: Path) -> list[CacheEntry]:
    """Returns what is kept, the latest used first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            try:
                found.append(entry_at(path))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # being removed, or damaged: made anew when it is asked for
    return sorted(found, key=lambda entry: -entry.used_s)


def make_room(folder: Path, kept: Path) -> None:
    """Removes what was used longest ago, and what was left half-written, but not ``kept``."""
    total, limit = 0, limit_bytes()
    for entry in entries(folder):
        total += entry.num_bytes
        if total > limit and entry.path != kept:
            shutil.rmtree(entry.path, ignore_errors=True)
    for part in folder.glob(".*"):
        try:
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        except OSError:
            continue


def clear(folder: Path) -> int:
    """Removes all entries and returns how many bytes they had; processes that use one go on."""
    total = sum(entry.num_bytes for entry in entries(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return total


def why_not_kept(folder: Path, num_bytes: int) -> str | None:
    """Returns why pixels of this size cannot be kept in the folder; None if they can."""
    if num_bytes > limit_bytes():
        return f"HWNAS_IMAGES_GIB allows {limit_bytes() / 2**30:g} GiB"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not os.access(folder, os.W_OK):
        return f"{folder} cannot be written"
    if num_bytes > free:
        return f"{folder} has {free / 2**30:.1f} GiB free"
    return None


def in_memory(
    name: str, undecoded: Undecoded, shape: tuple[int, ...], why: str
) -> tuple[Pixels, tuple[str, ...]]:
    num_bytes, free = prod(shape), free_bytes()
    if num_bytes > free:
        raise UserError(
            f"{name}: the images decode to {num_bytes / 2**30:.1f} GiB, which can be kept neither "
            f"on disk ({why}) nor in memory ({free / 2**30:.1f} GiB free); set HWNAS_IMAGES to a "
            "folder with room, set a smaller resolution, or use fewer images"
        )
    pixels: Pixels = np.empty(shape, np.uint8)
    notes = undecoded.decode(pixels)
    return pixels, (*notes, f"{name}: decoded anew by every command, its pixels not kept ({why})")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time make an entry."""
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
