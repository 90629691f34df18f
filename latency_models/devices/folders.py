"""Where files of this user and machine live: devices, profiles, tuned kernels, locks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file beside ``path`` to write; once it is whole, it takes the place of ``path``."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def cache_folder() -> Path:
    """Returns the folder of what can be made again: ``HWNAS_CACHE`` or ``~/.cache/hwnas``."""
    if given := os.environ.get("HWNAS_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"


def devices_folder() -> Path:
    """Returns the folder of this user's devices: ``HWNAS_DEVICES`` or in ``~/.config/hwnas``."""
    if given := os.environ.get("HWNAS_DEVICES"):
        return Path(given)
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "hwnas" / "devices"


def profiles_folder() -> Path:
    """Returns the folder of devices' profiles and models, one folder a device.

    ``HWNAS_PROFILES``, or in ``~/.local/share/hwnas``: hours of measuring are no cache.
    """
    if given := os.environ.get("HWNAS_PROFILES"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "hwnas" / "profiles"
