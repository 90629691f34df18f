"""Readings: only ever added, whole or not at all, and told when they cannot be read."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latency_models.devices.latency import Latency
from latency_models.measurement.readings import (
    VERSION,
    Reading,
    append_readings,
    latest,
    read_readings,
)
from search_spaces.graphs.errors import UserError
from tests.latency_models.parts.profiles import CONDITIONS, at, failed, measured

ROOT = Path(__file__).parents[3]


def reading(
    text: str, ms: float = 1.0, date: str = "2026-01-01T00:00:00", session: str = "a"
) -> Reading:
    return Reading(text, "conv2d", measured(ms, at(date)), "", session)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    latency = Latency(1.5, 0.25, "measured", CONDITIONS)
    append_readings(tmp_path, "kernels", 0, [Reading("k", "conv2d", latency, "", "one")])

    (row,) = read_readings(tmp_path, "kernels").to_dict("records")

    assert (row["text"], row["kind"], row["session"]) == ("k", "conv2d", "one")
    assert (row["median_ms"], row["spread_ms"], row["failure"]) == (1.5, 0.25, "")
    kept = asdict(CONDITIONS)
    shape = kept.pop("input_shape")
    assert {name: row[name] for name in kept} == kept
    assert (row["channels"], row["resolution"]) == shape[1:3]


def test_an_empty_profile_is_an_empty_table(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        table = read_readings(folder, "networks")
        assert len(table) == 0
        assert {"text", "median_ms", "session", "date"} <= set(table.columns)


def test_kernels_and_networks_are_kept_apart(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [reading("k")])
    append_readings(tmp_path, "networks", 1, [reading("n")])

    assert list(read_readings(tmp_path, "kernels")["text"]) == ["k"]
    assert list(read_readings(tmp_path, "networks")["text"]) == ["n"]


def test_adding_changes_no_file_that_was_there(tmp_path: Path) -> None:
    paths, contents = [], []
    for number in range(4):
        paths.append(append_readings(tmp_path, "kernels", number, [reading(f"k{number}")]))
        contents.append(paths[-1].read_bytes())

    assert [path.read_bytes() for path in paths] == contents
    assert list(read_readings(tmp_path, "kernels")["text"]) == ["k0", "k1", "k2", "k3"]


def test_nothing_is_ever_written_over(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [reading("first")])
    append_readings(tmp_path, "kernels", 0, [reading("second")])
    assert sorted(read_readings(tmp_path, "kernels")["text"]) == ["first", "second"]


def test_readings_come_the_oldest_first(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [reading("new", date="2026-03-01T00:00:00")])
    append_readings(
        tmp_path, "kernels", 1, [reading("old", date="2026-01-01T00:00:00", session="z")]
    )
    append_readings(
        tmp_path, "kernels", 2, [reading("mid", date="2026-02-01T00:00:00", session="0")]
    )
    assert list(read_readings(tmp_path, "kernels")["text"]) == ["old", "mid", "new"]


def test_failures_are_kept_beside_readings(tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [failed("bad"), failed("worse")])
    append_readings(tmp_path, "kernels", 1, [reading("good"), failed("bad")])

    table = read_readings(tmp_path, "kernels")

    assert table["median_ms"].notna().sum() == 1
    assert set(table.loc[table["failure"] != "", "text"]) == {"bad", "worse"}
    assert list(latest(table)["text"]) == ["good"]


def test_several_readings_of_one_kernel_are_their_median(tmp_path: Path) -> None:
    for number, ms in enumerate((1.0, 5.0, 2.0)):
        append_readings(tmp_path, "kernels", number, [reading("k", ms), reading(f"x{number}")])

    (row,) = latest(read_readings(tmp_path, "kernels")).query("text == 'k'").to_dict("records")

    assert (row["median_ms"], row["readings"]) == (2.0, 3)


DAMAGE = {
    "empty": b"",
    "no parquet": b"PAR1",
    "zeros": bytes(1000),
    "text": b"median_ms,text\n1,2\n",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_named(what: str, tmp_path: Path) -> None:
    append_readings(tmp_path, "kernels", 0, [reading("k")])
    (tmp_path / "kernels-z-00001.parquet").write_bytes(DAMAGE[what])

    with pytest.raises(UserError, match=r"kernels-z-00001.parquet cannot be read") as caught:
        read_readings(tmp_path, "kernels")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("median_ms", "fast", "numbers"),
        ("median_ms", -1.0, "numbers between"),
        ("median_ms", float("inf"), "numbers between"),
        ("spread_ms", float("nan"), "numbers between"),
        ("drift", 0.0, "numbers between"),
        ("text", 3, "texts"),
        ("date", 3, "texts"),
        ("threads", "x", "numbers"),
        ("threads", 0.0, "numbers between"),
        ("runtime_version", 3, "texts"),
    ],
)
def test_a_column_of_another_kind_is_named(
    column: str, value: str | float, rule: str, tmp_path: Path
) -> None:
    path = append_readings(tmp_path, "kernels", 0, [reading("k")])
    pd.read_parquet(path).assign(**{column: [value]}).to_parquet(path, index=False)

    with pytest.raises(UserError, match=rf"is damaged \(column '{column}' must hold {rule}"):
        read_readings(tmp_path, "kernels")


def test_a_file_that_was_cut_off_or_changed_is_named_or_read(tmp_path: Path) -> None:
    path = append_readings(tmp_path, "kernels", 0, [reading(f"k{i}", i + 1.0) for i in range(50)])
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for share in (0.01, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match="cannot be read"):
            read_readings(tmp_path, "kernels")
    for _ in range(60):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            read_readings(tmp_path, "kernels")
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  (either is right)
            assert path.name in str(error)  # noqa: PT017


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = append_readings(tmp_path, "kernels", 0, [reading("k")])
    pd.read_parquet(path).assign(version=VERSION + 1).to_parquet(path)
    with pytest.raises(UserError, match=f"version {VERSION + 1}, this hwnas reads {VERSION}; up"):
        read_readings(tmp_path, "kernels")
    pd.read_parquet(path).assign(version="two").to_parquet(path)
    with pytest.raises(UserError, match="version two"):
        read_readings(tmp_path, "kernels")


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = append_readings(tmp_path, "kernels", 0, [reading("k")])
    whole = pd.read_parquet(path)
    for column in ("version", "text", "median_ms", "session", "date", "failure", "cpu"):
        whole.drop(columns=column).to_parquet(path)
        with pytest.raises(UserError, match=f"is no profile: it has no column '{column}'"):
            read_readings(tmp_path, "kernels")


def test_a_file_without_rows_is_nothing(tmp_path: Path) -> None:
    path = append_readings(tmp_path, "kernels", 0, [reading("k")])
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    assert len(read_readings(tmp_path, "kernels")) == 0


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=r"cannot write .*what was timed before is kept"):
            append_readings(folder, "kernels", 0, [reading("k")])


def test_a_writer_that_is_killed_leaves_no_half_file(tmp_path: Path) -> None:
    script = f"""
import itertools
from pathlib import Path
from latency_models.measurement.readings import append_readings
from tests.latency_models.measurement.test_readings import reading
rows = [reading("k" * 2000 + str(i)) for i in range(500)]
for number in itertools.count():
    append_readings(Path({str(tmp_path)!r}), "kernels", number, rows)
    print(number, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)

    table = read_readings(tmp_path, "kernels")
    assert len(table) >= 3 * 500
    assert len(table) % 500 == 0
