"""Devices from the command line: added, served and checked, each mistake in one line."""

import json
import os
import re
import signal
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from latency_models.devices.device import get_device
from latency_models.devices.host import host_instruction_sets
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.sparse_speed import SIZES, SparseSpeed, key_of
from tests.latency_models.parts.boards import Server, closed_port
from tests.nas.parts.command_line import nas

SERVE = "from nas.cli import main; import sys; sys.argv[1:] = {words!r}; main()"
NEW = "cortex-a72@aarch64-linux-gnu"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_DEVICES", str(tmp_path / "devices"))
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def serving(place: Path, *words: str) -> Server:
    return Server(SERVE.format(words=["device", *words, "--port", "0"]), place)


def added(name: str, place: Path) -> dict[str, object]:
    return tomllib.loads((place / f"devices/{name}.toml").read_text())


def test_a_device_is_written_once_and_listed(tmp_path: Path) -> None:
    words = ("device", "add", "two", "--runtime", "onnxruntime", "--threads", "2")
    said = nas(*words, "--description", 'a "desk"', at=tmp_path)

    assert "next: nas device check two" in said
    row = {"description": 'a "desk"', "runtime": "onnxruntime", "threads": 2}
    assert added("two", tmp_path) == row
    assert 'a "desk"' in nas("device", "list", at=tmp_path)
    assert "replace it with --force" in nas(*words, at=tmp_path, code=2)
    nas(*words, "--force", at=tmp_path)
    assert "comes with hwnas" in nas("device", "add", "host", at=tmp_path, code=2)


def test_an_own_device_is_changed_and_removed(tmp_path: Path) -> None:
    words = ("device", "add", "two", "--runtime", "onnxruntime", "--max-drift", "1.5")
    nas(*words, at=tmp_path)
    assert added("two", tmp_path)["max_drift"] == 1.5

    nas("device", "edit", "two", "--max-drift", "2", "--threads", "2", at=tmp_path)

    row = {"description": "this machine", "runtime": "onnxruntime"}
    assert added("two", tmp_path) == row | {"max_drift": 2.0, "threads": 2}
    assert "max_drift must be above 1, got 1.0" in nas(
        *("device", "edit", "two", "--max-drift", "1"), at=tmp_path, code=2
    )
    assert str(tmp_path / "devices/two.toml") in nas("device", "remove", "two", at=tmp_path)
    for command in ("edit", "remove"):
        assert "unknown device 'two'" in nas("device", command, "two", at=tmp_path, code=2)
        assert "comes with hwnas" in nas("device", command, "host", at=tmp_path, code=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "znver55"), "LLVM knows no processor 'znver55'"),
        (("--target", NEW), "is for a device elsewhere"),
        (("--target", NEW, "--rpc", "pi"), "an address must be HOST:PORT"),
        (("--target", NEW, "--tracker", "pi:9190"), "tracker and key go together"),
        (("--target", NEW, "--rpc", "pi:1", "--threads", "2"), "1 thread, got threads 2"),
        (("--rpc", closed_port()), "cannot be reached: Connect to"),
    ],
)
def test_a_wrong_device_is_not_written(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    said = nas("device", "add", "pi", *words, at=tmp_path, code=2)

    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert errors == said.splitlines()[-1:]  # LLVM itself logs a line about an unknown processor
    assert message in errors[0]
    assert not (tmp_path / "devices/pi.toml").exists()


def test_others_may_connect_only_if_trusted(tmp_path: Path) -> None:
    for server, risk in (("serve", "run any code on this one as"), ("tracker", "use the boards")):
        said = nas("device", server, "--host", "0.0.0.0", at=tmp_path, code=2)
        assert f"other machines could {risk}" in said
        assert "--trust-network" in said


@pytest.mark.slow
@pytest.mark.skipif(
    "avx2" not in host_instruction_sets(), reason="its board poses as a CPU with AVX2"
)
def test_a_board_is_served_added_and_checked(tmp_path: Path) -> None:
    with serving(tmp_path, "serve") as board:
        assert board.address.startswith("127.0.0.1:")
        assert "can run any code as" in board.line()

        nas("device", "add", "loop", "--rpc", board.address, at=tmp_path)
        row = added("loop", tmp_path)
        with (tmp_path / "devices/loop.toml").open("a") as file:
            file.write("max_drift = 1000\n")  # other tests may keep this machine busy
        said = nas("device", "check", "loop", at=tmp_path)

        assert row["rpc"] == board.address
        assert f"at {board.address}" in said
        assert all(word in said for word in ("avx2", "noise", "clock drift", "w8a8"))
        os.kill(board.pid, signal.SIGTERM)
        board.wait()
    said = nas("device", "check", "loop", at=tmp_path, code=2)
    assert "check the address, and that `nas device serve` runs there" in said


@pytest.mark.slow
def test_a_tracker_is_told_of_a_board_that_begins_with_it(tmp_path: Path) -> None:
    with serving(tmp_path, "tracker") as tracker:
        known = ("--tracker", tracker.address, "--key", "loop")
        with serving(tmp_path, "serve", *known) as board:
            assert board.address.startswith("127.0.0.1:")
            nas("device", "add", "any", *known, at=tmp_path)
    row = added("any", tmp_path)
    assert (row["tracker"], row["key"]) == (tracker.address, "loop")


@pytest.mark.slow
def test_a_check_says_from_which_sparsity_on_layers_are_faster_sparse(tmp_path: Path) -> None:
    """From what was measured before, which takes half a minute."""
    with Measurer(get_device("host")) as measurer:
        key = key_of(measurer, SIZES)
    rows = [SparseSpeed(512, None, 0.03, 0.02), SparseSpeed(4096, 0.3, 4.2, 1.5)]
    (tmp_path / "cache").mkdir(exist_ok=True)
    kept = tmp_path / "cache" / f"sparse_{key}.json"
    kept.write_text(json.dumps([asdict(row) for row in rows]))

    said = nas("device", "check", "host", "--max-drift", "1000", "--sparse", at=tmp_path)

    assert re.search(r"512 x 512 +never", said)
    assert re.search(r"4096 x 4096 +70% zeros +1\.5 ms +4\.2 ms", said)
