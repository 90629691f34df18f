"""Readings: what was timed on a device, kept in parquet files that are only ever added.

A profile is a folder, ``kernels-*.parquet`` and ``networks-*.parquet``; each file is written whole
or not at all, so a profiler that is killed loses what it had not yet written, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from latency_models.devices.folders import replacing
from latency_models.devices.latency import Conditions, Latency
from search_spaces.graphs.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd

What = Literal["kernels", "networks"]
VERSION = 1
SHARED = tuple(field.name for field in fields(Conditions) if field.name != "input_shape")
COLUMNS = ("version", "text", "kind", "failure", "session", "median_ms", "spread_ms", *SHARED)
LEAST_MS, MOST_MS = 1e-9, 1e9
# What columns hold beside a reading that was made.
NUMBERS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("median_ms", "spread_ms", "reference_ms", "drift", "threads"), (int, float)),
    **dict.fromkeys(("device", "cpu", "runtime", "runtime_version", "target", "date"), str),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One kernel or network that was timed, or could not be.

    Attributes:
        text: The kernel (see ``kernel_text``), or the network's graph as JSON.
        kind: What kernel it is, for people; "" for networks.
        latency: None where it failed.
        failure: Why it failed; "" where it did not.
        session: Names the run of the profiler.
    """

    text: str
    kind: str
    latency: Latency | None
    failure: str
    session: str


def append_readings(folder: Path, what: What, number: int, readings: Sequence[Reading]) -> Path:
    """Writes readings into a new file of the profile and returns its path.

    Raises:
        UserError: If it cannot be written.
    """
    import pandas as pd

    while (path := folder / f"{what}-{readings[0].session}-{number:05}.parquet").exists():
        number += 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            pd.DataFrame([row_of(reading) for reading in readings]).to_parquet(part, index=False)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was timed before is kept"
        ) from None
    return path


def row_of(reading: Reading) -> dict[str, Any]:
    row = {"version": VERSION, "text": reading.text, "kind": reading.kind}
    row |= {"failure": reading.failure, "session": reading.session}
    latency = reading.latency
    row |= {"median_ms": None, "spread_ms": None} if latency is None else {
        "median_ms": latency.median_ms, "spread_ms": latency.spread_ms
    }  # fmt: skip
    conditions = latency.conditions if latency is not None else None
    given = {} if conditions is None else asdict(conditions)
    row |= {name: given.get(name) for name in SHARED}
    row["resolution"] = None if conditions is None else conditions.input_shape[2]
    row["channels"] = None if conditions is None else conditions.input_shape[1]
    return row


def read_readings(folder: Path, what: What) -> "pd.DataFrame":
    """Returns every reading of a profile, the oldest first; an empty table where there is none.

    Raises:
        UserError: If a file is damaged, or of a newer version.
    """
    import pandas as pd

    assert what in get_args(What)
    tables = []
    for path in sorted(folder.glob(f"{what}-*.parquet")):
        try:
            table = pd.read_parquet(path)
        except Exception as error:  # what is not whole may fail in any way
            raise UserError(
                f"{path} cannot be read ({one_line(error)}); remove it and profile again"
            ) from None
        if missing := [name for name in COLUMNS if name not in table]:
            raise UserError(f"{path} is no profile: it has no column {missing[0]!r}")
        if newer := [each for each in table["version"].unique() if each != VERSION]:
            raise UserError(
                f"{path} has version {newer[0]}, this hwnas reads {VERSION}; upgrade hwnas"
            )
        check_readings(path, table)
        tables.append(table)
    if not tables:
        return pd.DataFrame({name: [] for name in COLUMNS})
    whole = pd.concat(tables, ignore_index=True)
    return whole.sort_values("date", kind="stable", ignore_index=True)


def check_readings(path: Path, table: "pd.DataFrame") -> None:
    """Makes sure that columns hold what readings do: texts, and positive times.

    Raises:
        UserError: If one does not.
    """

    def refuse(name: str, rule: str) -> None:
        raise UserError(
            f"{path} is damaged (column {name!r} must hold {rule}); remove it and profile again"
        )

    timed = table["median_ms"].notna()
    for name in ("text", "kind", "failure", "session"):
        if not all(isinstance(value, str) for value in table[name]):
            refuse(name, "texts")
    for name, kind in NUMBERS.items():
        # Where nothing was timed, there are no conditions either.
        values = table[name][timed]
        if not all(isinstance(value, kind) for value in values):
            refuse(name, "texts" if kind is str else "numbers")
        if kind is not str and len(values):
            least = LEAST_MS if name != "spread_ms" else 0.0
            numbers = values.astype(float)
            if not ((numbers >= least) & (numbers <= MOST_MS)).all():
                refuse(name, f"numbers between {least:g} and {MOST_MS:g}")


def latest(table: "pd.DataFrame") -> "pd.DataFrame":
    """Returns one row of each text: the median over its readings, and how far they differ.

    Columns: text, kind, median_ms, spread_ms, readings.
    """
    good = table[table["median_ms"].notna()]
    grouped = good.groupby("text", sort=False)
    return grouped.agg(
        kind=("kind", "last"),
        median_ms=("median_ms", "median"),
        spread_ms=("spread_ms", "median"),
        readings=("median_ms", "size"),
    ).reset_index()
