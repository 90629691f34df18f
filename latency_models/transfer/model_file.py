"""Files of transferred models: what was measured on a device, and which devices stand in for it.

Letters: N networks of the table, K measured networks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.arrays import checked_array
from latency_models.devices.device import Runtime
from latency_models.devices.folders import profiles_folder
from latency_models.measurement.readings import LEAST_MS, MOST_MS
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import (
    FILE,
    TRANSFERRED,
    Arrays,
    read_about,
    read_model,
    write_model,
)
from latency_models.transfer.anchored import Table
from latency_models.transfer.networks import NAMES
from latency_models.transfer.profiles import Indices
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]
M = TypeVar("M")
# What a transferred model relies on of what it says of itself, and of each source.
ABOUT: Mapping[str, Any] = {
    **{"device": str, "runtime": Runtime, "model": str, "drift": float},
    "sources": tuple[Mapping[str, Any], ...],
}
SOURCE: Mapping[str, Any] = {
    **{"device": str, "runtime": Runtime, "target": str, "tuned": bool, "threads": int},
    **{"cpu": str, "last": str},
}
SAME = ("runtime", "target", "tuned", "threads")  # of a source, as long as a transfer holds


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """All that a transferred model is fitted to.

    Attributes:
        about: What the model says of itself, JSON-ready.
        sources: Models of the source devices.
        table: Networks of the space, the measured ones among them.
        rows: (K,) which rows of the table were measured.
        measured_ms: (K,) what they took.
    """

    about: Mapping[str, Any]
    sources: tuple[LatencyModel, ...]
    table: Table
    rows: Indices
    measured_ms: Array

    def with_rows(self, table: Table, measured_ms: Sequence[float]) -> "Transfer":
        """Returns the transfer with further networks, all of them measured."""
        whole = self.table.with_rows(table)
        new = np.arange(len(self.table.features), len(whole.features))
        return replace(
            self,
            table=whole,
            rows=np.concatenate([self.rows, new]),
            measured_ms=np.concatenate([self.measured_ms, measured_ms]),
        )

    def latest(self, most: int) -> "Transfer":
        """Returns the transfer with the last measurements alone."""
        return replace(self, rows=self.rows[-most:], measured_ms=self.measured_ms[-most:])


def load_transfer(device: str, folder: Path | None, make: Callable[[Transfer], M]) -> M:
    """Returns what ``make`` makes of what was transferred to a device.

    Args:
        folder: Where profiles are kept; None is this user's folder.

    Raises:
        UserError: If there is none, the file is damaged or too new, or a source device's model
            is gone or of another kind than it was.
    """
    path = (folder or profiles_folder()) / device / TRANSFERRED
    if not path.is_file():
        raise UserError(
            f"latency was never transferred to {device!r}; do so with nas device transfer "
            f"{device} --from DEVICE,DEVICE --space SPACE.yaml"
        )
    header, arrays = read_model(path)
    if header.get("features") != list(NAMES):
        raise UserError(
            f"{path} was made by another version of hwnas; run nas device transfer {device} "
            "again, what was measured is kept"
        )
    try:
        about = read_about(header.get("about"), ABOUT)
        for said in about["sources"]:
            read_about(said, SOURCE)
        parts = parts_of(arrays, len(about["sources"]))
    except UserError as error:
        raise damaged(path, device, error) from None
    sources = tuple(source_model(device, said, folder) for said in about["sources"])
    try:
        return make(Transfer(about, sources, *parts))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise damaged(path, device, error) from None


def parts_of(arrays: Arrays, num_sources: int) -> tuple[Table, Indices, Array]:
    """Returns table, measured rows and their times, held against what they must be.

    Raises:
        UserError: If one is not.
    """
    features = checked_array(arrays, "features", (None, len(NAMES)))
    shape = (len(features), num_sources)
    table = Table(checked_array(arrays, "sources_ms", shape, LEAST_MS, MOST_MS), features)
    rows = checked_array(arrays, "rows", (None,), 0, len(features) - 1, "whole")
    return table, rows, checked_array(arrays, "measured_ms", rows.shape, LEAST_MS, MOST_MS)


def save_transfer(transfer: Transfer, folder: Path | None = None) -> Path:
    """Writes what was transferred into the device's profile and returns the file.

    Raises:
        UserError: If it cannot be written.
    """
    path = (folder or profiles_folder()) / str(transfer.about["device"]) / TRANSFERRED
    arrays = {
        "sources_ms": transfer.table.sources_ms,
        "features": transfer.table.features,
        "rows": transfer.rows,
        "measured_ms": transfer.measured_ms,
    }
    write_model(path, {"about": transfer.about, "features": list(NAMES)}, arrays)
    return path


def source_model(device: str, said: Mapping[str, Any], folder: Path | None) -> LatencyModel:
    """Returns the model of a source device.

    Raises:
        UserError: If it is gone, or of networks that are run otherwise than they were.
    """
    name, again = said["device"], f"run nas device transfer {device} again"
    try:
        model = LatencyModel.load(name, folder)
    except UserError as error:
        raise UserError(f"{device!r} is predicted from other devices, but {error}") from None
    about = model.about
    for key in SAME:
        if about[key] != said[key]:
            raise UserError(
                f"{device!r} is predicted from {name!r} with {key} {said[key]}, which was "
                f"profiled with {key} {about[key]} since; {again}"
            )
    return model


def damaged(path: Path, device: str, error: Exception) -> UserError:
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return UserError(
        f"{path} is damaged ({kind}{error}); run nas device transfer {device} "
        "again, what was measured is kept"
    )


def describe_source(model: LatencyModel) -> dict[str, Any]:
    """Returns what a transferred model keeps of a source, JSON-ready."""
    about = model.about
    return {"device": model.device_name, **{key: about[key] for key in (*SAME, "cpu", "last")}}


def model_files(device: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Returns the files that a device's model is read from: its own, then its sources'.

    Raises:
        UserError: If a transferred model's file is damaged or too new.
    """
    root = folder or profiles_folder()
    own, other = root / device / FILE, root / device / TRANSFERRED
    if own.is_file() or not other.is_file():
        return (own,)
    header, _ = read_model(other)
    try:
        about = read_about(header.get("about"), {"sources": ABOUT["sources"]})
        names = [read_about(source, {"device": str})["device"] for source in about["sources"]]
    except UserError as error:
        raise damaged(other, device, error) from None
    return (other, *(root / name / FILE for name in names))
