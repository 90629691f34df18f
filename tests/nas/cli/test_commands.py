"""The command line: what a user types, and one clear line for every mistake."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from nas.cli import COMMANDS
from search_spaces.networks import get_network
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture
from tests.nas.parts.command_line import nas
from tests.nas.parts.imports import heavy_imports

RUN_FILE = """\
name: tiny
data: {kind: digits, train: 100, validation: 50, test: 50}
space:
  resolution: 8
  stem: {width: 8}
  stages:
    - {depth: [1, 2], width: [8, 16], stride: [1, 2], blocks: [plain, skip]}
training: {epochs: 1}
objectives: [accuracy, macs]
search: {trials: 3}
baselines: []
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN_FILE)
    return tmp_path


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small search has ended."""
    place = tmp_path_factory.mktemp("searched")
    (place / "run.yaml").write_text(RUN_FILE)
    nas("search", "run.yaml", at=place)
    return place


def test_help_comes_at_once(tmp_path: Path) -> None:
    said, heavy = heavy_imports("--help", at=tmp_path)

    assert "search" in said
    assert heavy == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["front"], ["status", "--no-outlook"], ["compare", "{copy}"], ["runs"]]
)
def test_what_only_reads_runs_needs_no_torch(
    words: list[str], tmp_path: Path, searched: Path
) -> None:
    run, copy = searched / "runs/tiny", tmp_path / "copy"
    copytree(run, copy)
    given = [str(run.parent if words == ["runs"] else run)]
    given += [word.format(copy=copy) for word in words[1:]]

    said, heavy = heavy_imports(words[0], *given, at=tmp_path)

    assert "tiny" in said
    assert heavy == ["optuna"]  # which a run's own journal is read with


def test_a_command_that_is_asked_for_imports_no_other() -> None:
    program = """
import sys
from nas.cli import main
try:
    main(["--debug", "front", "--help"])
except SystemExit:
    print(*sorted(name for name in sys.modules if name.startswith("nas.cli.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    *shown, imported = done.stdout.splitlines()
    assert any("Show the Pareto front of a run." in line for line in shown)
    assert {name.split(".")[2] for name in imported.split()} == {"inspect", "terminal"}


def test_every_command_is_in_the_help_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    shown = nas("--help", at=tmp_path)

    assert [name for name in COMMANDS if f" {name} " not in shown] == []
    assert "No such command 'frnt'. Did you mean 'front'?" in nas("frnt", at=tmp_path, code=2)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert nas("--version", at=tmp_path) == f"hwnas {version('hwnas')}\n"


def test_a_process_of_its_own_ends_with_the_same_line_and_code(tmp_path: Path) -> None:
    words = ("search", "none.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "nas", *words], cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == nas(*words, at=tmp_path, code=2)


def test_a_search_prints_front_and_report(searched: Path) -> None:
    assert (searched / "runs/tiny/report.html").stat().st_size > 100_000
    assert "best" in nas("front", "runs/tiny", at=searched)
    said = nas("status", "runs/tiny", at=searched)
    assert "3 of 3 architectures" in said
    assert "weights of 3 networks" in said

    front = json.loads(nas("front", "runs/tiny", "--json", at=searched))
    assert {"best", "knee", "fastest"} == {pick for row in front["front"] for pick in row["picks"]}
    assert all(0 <= row["test_accuracy"] <= 1 for row in front["front"])


def test_show_and_space_and_networks(searched: Path) -> None:
    file = next((searched / "runs/tiny/architectures").glob("*.json"))
    assert "total" in nas("show", str(file), "--no-times", at=searched)
    assert "architectures" in nas("space", "show", "run.yaml", at=searched)
    nas("space", "sample", "run.yaml", "--count", "2", "--save", "samples", at=searched)
    assert list((searched / "samples").glob("*.json"))
    assert "mobilenet_v2" in nas("networks", at=searched)
    assert "use at least" in nas("networks", "--resolution", "8", at=searched)
    assert "host-onnxruntime" in nas("device", "list", at=searched)


def test_a_run_that_is_there_is_resumed_or_refused(searched: Path) -> None:
    said = nas("search", "run.yaml", at=searched, code=2)
    assert "already holds a run; continue it with --resume" in said

    said = nas("search", "run.yaml", "--resume", "--trials", "4", at=searched)
    assert said.split()[:6] == ["trial", "accuracy", "macs", "params", "took", "trial"]
    assert "on disk: " in said
    assert "4 of 4 architectures" in nas("status", "runs/tiny", at=searched)

    said = nas("search", "run.yaml", "--resume", "--seed", "5", at=searched, code=2)
    assert "search.seed: 0 -> 5" in said
    said = nas("search", "run.yaml", "--resume", "--no-avoid-useless", at=searched, code=2)
    assert "search.avoid_useless: True -> False" in said


@pytest.mark.slow
def test_a_dry_run_takes_every_step_and_leaves_nothing(place: Path) -> None:
    said = nas("search", "run.yaml", "--dry-run", at=place)

    assert "every step works" in said
    assert [path.name for path in place.iterdir()] == ["run.yaml"]


def mistakes() -> dict[str, tuple[list[str], str]]:
    """What may be typed wrong, and what must be said about it."""
    change = ["search", "run.yaml", "--set"]
    return {
        "unknown key": (
            [*change, "serch.trials=3"],
            "unknown key 'serch' at the top; did you mean",
        ),
        "unknown nested key": ([*change, "training.epoch=3"], "did you mean 'epochs'?"),
        "wrong type": ([*change, "search.trials=many"], "search.trials: input should be"),
        "no stages": ([*change, "space.stages=[]"], "space.stages"),
        "no values": ([*change, "space.resolution=[]"], "space.resolution"),
        "indivisible width": (
            [*change, "space.stages=[{depth: 1, width: 20, blocks: [{shuffle_v1: {groups: 3}}]}]"],
            "divisible by",
        ),
        "unknown block": (
            [*change, "space.stages=[{depth: 1, width: 8, blocks: [fier]}]"],
            "unknown block 'fier'; known blocks: ",
        ),
        "small images": (
            [*change, "space.stages=[{depth: 1, width: 8, stride: 16, blocks: [plain]}]"],
            "resolution 8 is too small for strides that multiply to 16",
        ),
        "unknown precision": (
            [*change, "space.stages=[{depth: 1, width: 8, blocks: [plain], precision: w9}]"],
            "unknown precision 'w9'; known precisions: fp32, w8a8, w4a8",
        ),
        "precision twice": (
            [*change, "space.stem={precision: fp32, weight_bits: 8}"],
            "space.stem: precision must not stand beside weight_bits",
        ),
        "precision that the head cannot have": (
            [*change, "space.head={precision: xnor_k}"],
            "head at precision xnor_k, width 0: a linear layer has no map of windows to scale",
        ),
        "unknown sampler": (
            [*change, "search.sampler=magic"],
            "sampler must be one of evolution, surrogate, tpe",
        ),
        "unknown network": ([*change, "baselines=[resnet1000]"], "known"),
        "unknown metric": ([*change, "objectives=[accuracy, speed]"], "known metrics: accuracy"),
        "unreadable constraint": ([*change, "constraints=[fast]"], "must read 'metric <= number'"),
        "unknown data": ([*change, "data={kind: mnist}"], "known kinds: digits"),
        "missing images": (
            [*change, "data={kind: folder, path: nowhere}"],
            "nowhere: there is no such folder",
        ),
        "unknown device": (
            [*change, "objectives=[accuracy, latency_ms]", "--set", "latency.device=phone"],
            "unknown device 'phone'; known devices:",
        ),
        "no file": (["search", "none.yaml"], "cannot read none.yaml: No such file"),
        "no run": (["front", "runs/none"], "holds no run"),
        "unknown device to show": (
            ["show", "network.json", "--device", "phone"],
            "unknown device 'phone'; known devices:",
        ),
        "no architecture": (["show", "none.json"], "cannot read architecture file none.json"),
        "no YAML": (["search", "broken.yaml"], "is not YAML"),
    }


@pytest.mark.parametrize("what", mistakes())
def test_a_mistake_is_one_line_and_exit_code_2(what: str, place: Path) -> None:
    (place / "broken.yaml").write_text("a: [1")
    save_architecture(Architecture("lenet5", (), get_network("lenet5")()), place / "network.json")
    words, message = mistakes()[what]

    said = nas(*words, at=place, code=2)

    assert message in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


def test_labels_out_of_range_and_one_class_are_named(place: Path) -> None:
    images = np.zeros((20, 8, 8, 1), np.uint8)
    np.savez(place / "one.npz", images=images, labels=np.zeros(20, np.int64))
    np.savez(place / "minus.npz", images=images, labels=np.arange(20) % 3 - 1)

    said = nas("search", "run.yaml", "--set", "data={kind: npz, path: one.npz}", at=place, code=2)
    assert "at least two classes" in said
    said = nas(
        "search", "run.yaml", "--set", "data={kind: npz, path: minus.npz}", at=place, code=2
    )
    assert "labels must be" in said


def test_debug_shows_the_traceback(place: Path) -> None:
    assert "Traceback" in nas("search", "none.yaml", "--debug", at=place, code=2)
