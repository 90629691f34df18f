"""What every benchmark prints and writes: a table, and JSON with machine, versions and command."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.runs.provenance import machine, versions

Rows = Sequence[Mapping[str, Any]]


def print_table(title: str, rows: Rows) -> None:
    """Prints rows of equal keys; numbers are aligned right, with four digits."""
    table = Table(title=title, title_justify="left", box=None)
    for key, value in rows[0].items():
        table.add_column(key, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=200).print(table)  # whole, also into a file


def write_json(path: Path | None, rows: Rows, summary: Mapping[str, Any]) -> None:
    """Writes rows and summary to ``path``, with all that a reader needs to repeat them."""
    if path is None:
        return
    data = {
        "command": " ".join(["python", "-m", *sys.orig_argv[2:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "summary": dict(summary),
        "rows": [dict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"written to {path}")
