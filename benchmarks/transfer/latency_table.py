"""Tables of latencies: rows are architectures, columns are devices, values are milliseconds.

A table is a parquet or CSV file whose index (in CSV: first column) names the architectures. The
names' tokens are the features, unless columns or a second table with the same index hold others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.transfer.tokens import token_features
from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Latencies of N architectures on D devices.

    Attributes:
        architectures: Their names.
        devices: Names of the columns.
        latency_ms: (N, D) milliseconds, NaN where not measured.
        features: Blocks of (N, P) features, from coarse to fine.
    """

    architectures: tuple[str, ...]
    devices: tuple[str, ...]
    latency_ms: Array
    features: tuple[Array, ...]

    def columns(self, devices: Sequence[str]) -> Array:
        """Returns (N, len(devices)) latencies.

        Raises:
            UserError: If the table lacks one of the devices.
        """
        unknown = sorted(set(devices) - set(self.devices))
        if unknown:
            raise UserError(
                f"the table has no device {', '.join(unknown)}; it has {', '.join(self.devices)}"
            )
        return self.latency_ms[:, [self.devices.index(device) for device in devices]]


def read_table(
    path: Path, features: Path | None = None, feature_columns: Sequence[str] = ()
) -> LatencyTable:
    """Returns the table in ``path``.

    Args:
        path: A parquet or CSV file.
        features: Another one with the same index, whose columns are all features.
        feature_columns: Columns of ``path`` that are features, not devices.

    Raises:
        UserError: If a file is missing or of another kind, or its values are not numbers.
    """
    frame = _frame(path)
    missing = sorted(set(feature_columns) - set(frame.columns))
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}; name columns that it has")
    given = [_numbers(frame[list(feature_columns)], path)] if feature_columns else []
    if features is not None:
        other = _frame(features)
        lacking = frame.index.difference(other.index)
        if len(lacking):
            raise UserError(
                f"{features} has no row for {len(lacking)} of {path}'s architectures, "
                f"for example {lacking[0]!r}; add them"
            )
        given.append(_numbers(other.loc[frame.index], features))
    latencies = frame.drop(columns=list(feature_columns))
    names = tuple(map(str, frame.index))
    blocks = (np.concatenate(given, axis=1),) if given else token_features(names)
    return LatencyTable(
        names, tuple(map(str, latencies.columns)), _numbers(latencies, path), blocks
    )


def _frame(path: Path) -> pd.DataFrame:
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"{path} is no .parquet or .csv file; give latencies as one of them")
    if not path.is_file():
        raise UserError(f"no table at {path}; give a parquet or CSV file")
    try:
        frame = pd.read_csv(path, index_col=0) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if frame.index.has_duplicates:
        twice = frame.index[frame.index.duplicated()][0]
        raise UserError(f"{path} has architecture {twice!r} twice; keep one row of each")
    return frame


def _numbers(frame: pd.DataFrame, path: Path) -> Array:
    words = [str(name) for name, kind in frame.dtypes.items() if kind.kind not in "iufb"]
    if words:
        raise UserError(f"column {words[0]!r} of {path} is not numeric; leave it out or encode it")
    return frame.to_numpy(np.float64)
