"""Figures: numbers, texts and digests, and how they are made, compared and told."""

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Figure = Any  # JSON-ready
LONGEST = 160  # of a figure that is told
BLANK = "..."
# Keys of files whose values differ from one run or machine to the next.
UNSTEADY = frozenset(
    {
        *("started", "command", "machine", "cpu", "versions", "hwnas_version"),
        *("date", "seconds"),
    }
)
TIMES = re.compile(r"\d[\d.]*(e[+-]?\d+)?( )?(ms|us|s|min|h|trials/min|overall)\b")
DATES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.,+]*")
VERSIONS = re.compile(r"\b\d+\.\d+\.\d+[\w.+]*")


def digest(value: object) -> str:
    """Returns 16 hex digits that stand for bytes, a text, an array, or JSON-ready data."""
    return hashlib.sha256(as_bytes(value)).hexdigest()[:16]


def as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Returns a digest of named arrays, in whatever order they come."""
    return digest([[name, digest(np.asarray(arrays[name]))] for name in sorted(arrays)])


def flat(data: Figure, at: str = "") -> dict[str, Figure]:
    """Returns every figure under its whole name; a list is one figure."""
    if not isinstance(data, Mapping):
        return {at: data}
    found: dict[str, Figure] = {}
    for key, value in data.items():
        found |= flat(value, f"{at} / {key}" if at else str(key))
    return found


def told(figure: Figure) -> str:
    text = json.dumps(figure)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({digest(text)})"


def steady(data: Figure) -> Figure:
    """Returns JSON-ready data with what differs from run to run blanked; keys stay."""
    if isinstance(data, Mapping):
        return {k: kept_keys(v) if k in UNSTEADY else steady(v) for k, v in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [steady(value) for value in data]
    return data


def kept_keys(value: Figure) -> Figure:
    """Returns what is left of a value that differs: the keys in it."""
    if isinstance(value, Mapping):
        return {key: kept_keys(inner) for key, inner in value.items()}
    return None if value is None else BLANK


def steady_text(text: str) -> str:
    """Returns a text without times, dates and versions, and without the ends of lines."""
    text = VERSIONS.sub(BLANK, TIMES.sub(BLANK, DATES.sub(BLANK, text)))
    return "\n".join(line.rstrip() for line in text.splitlines())


@contextmanager
def quiet_place(folder: Path) -> Iterator[None]:
    """Folders of its own for devices, profiles and locks; one thread; no word beside figures."""
    names = ("HWNAS_CACHE", "HWNAS_DEVICES", "HWNAS_PROFILES")
    before = {name: os.environ.get(name) for name in names}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    try:
        for name in names:
            os.environ[name] = str(folder / name.lower())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
