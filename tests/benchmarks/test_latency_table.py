"""A plain table of latencies is read with its devices and features, or refused in one line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.transfer.latency_table import read_table
from search_spaces.graphs.errors import UserError

NAMES = ["0, 0, 1", "0, 1, 1", "1, 1, 1"]
FRAME = pd.DataFrame(
    {"phone": [1.0, 2.0, np.nan], "gpu": [3, 4, 5], "macs": [7.0, 8.0, 9.0]},
    index=pd.Index(NAMES, name="arch"),
)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_columns_are_devices_and_rows_architectures(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    if suffix == ".csv":
        FRAME.to_csv(path)
    else:
        FRAME.to_parquet(path)

    table = read_table(path, feature_columns=["macs"])

    assert table.architectures == tuple(NAMES)
    assert table.devices == ("phone", "gpu")
    np.testing.assert_array_equal(table.columns(["gpu", "phone"])[0], [3, 1])
    assert [block.tolist() for block in table.features] == [[[7], [8], [9]]]


def test_names_give_features_where_none_are_named(tmp_path: Path) -> None:
    FRAME[["phone", "gpu"]].to_parquet(tmp_path / "a.parquet")

    counts, _ = read_table(tmp_path / "a.parquet").features

    assert counts.tolist() == [[1, 2], [2, 1], [3, 0]] or counts.tolist() == [
        [2, 1],
        [1, 2],
        [0, 3],
    ]


def test_features_of_another_table_are_matched_by_name(tmp_path: Path) -> None:
    FRAME[["gpu"]].to_parquet(tmp_path / "a.parquet")
    FRAME[["macs"]].iloc[::-1].to_csv(tmp_path / "features.csv")

    table = read_table(tmp_path / "a.parquet", tmp_path / "features.csv")

    assert table.features[0][:, 0].tolist() == [7, 8, 9]


def test_tables_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    FRAME.assign(maker=["a", "b", "c"]).to_csv(tmp_path / "words.csv")
    pd.concat([FRAME, FRAME]).to_csv(tmp_path / "twice.csv")
    FRAME.to_csv(tmp_path / "good.csv")
    FRAME.iloc[:2].to_csv(tmp_path / "short.csv")
    (tmp_path / "broken.parquet").write_text("no parquet")

    with pytest.raises(UserError, match=r"is no \.parquet or \.csv file"):
        read_table(tmp_path / "a.xlsx")
    with pytest.raises(UserError, match="no table at"):
        read_table(tmp_path / "missing.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "broken.parquet")
    with pytest.raises(UserError, match=r"column 'maker' of .* is not numeric"):
        read_table(tmp_path / "words.csv")
    with pytest.raises(UserError, match="architecture '0, 0, 1' twice"):
        read_table(tmp_path / "twice.csv")
    with pytest.raises(UserError, match="no row for 1 of"):
        read_table(tmp_path / "good.csv", tmp_path / "short.csv")
    with pytest.raises(UserError, match="has no column colour"):
        read_table(tmp_path / "good.csv", feature_columns=["colour"])
    with pytest.raises(UserError, match="has no device tpu; it has phone, gpu"):
        read_table(tmp_path / "good.csv", feature_columns=["macs"]).columns(["tpu"])
