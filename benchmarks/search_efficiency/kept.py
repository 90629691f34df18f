"""Kept: what a method evaluated with a seed, once, so that a benchmark goes on where it ended."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from nas.runs.files import write_whole


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What was evaluated.

    Attributes:
        rows: Of the table, in order.
        seconds: Of the processor, that asking took.
    """

    rows: list[int]
    seconds: float


def kept(folder: Path | None, name: str, evaluate: Callable[[], list[int]]) -> Evaluated:
    """Returns what is kept under a name, else evaluates, and keeps it where there is a folder."""
    path = folder / f"{name}.json" if folder is not None else None
    if path is not None and path.exists():
        return Evaluated(**json.loads(path.read_text()))
    began = process_time()
    rows = evaluate()
    found = Evaluated(rows, process_time() - began)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(found)).encode())
    return found
