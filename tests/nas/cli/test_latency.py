"""Asking for latency: the command line, the service and Python say the same, and come at once."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from latency_models.devices.latency import from_json
from latency_models.prediction.model import LatencyModel
from latency_models.transfer.predictions import NO_DEVICE
from nas.models.folder import ModelInput, StoredModel, write_model
from search_spaces.graphs.model import random_model
from search_spaces.networks import get_network
from search_spaces.space.architecture import load_architecture, save_architecture, to_json
from search_spaces.space.space import Architecture
from tests.nas.parts.command_line import nas
from tests.nas.parts.imports import heavy_imports
from tests.nas.parts.profiles import make_profile, mobile, unlike

COMMANDS = {
    "predict": ["predict", "network.json", "--device", "alpha"],
    "explain": ["predict", "network.json", "--device", "alpha", "--explain"],
    "compare": ["compare", "network.json", "--devices", "alpha,beta"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two networks, and with the profiles of two devices, one twice as fast."""
    folder = tmp_path_factory.mktemp("latency")
    make_profile(folder / "profiles", "alpha", factor=1.0)
    make_profile(folder / "profiles", "beta", factor=0.5)
    for name, graph in (
        ("network", mobile(0.5)),
        ("other", mobile(0.6)),
        ("unknown", unlike()),
    ):
        save_architecture(Architecture(name, (), graph), folder / f"{name}.json")
    return folder


def own(place: Path) -> dict[str, str]:
    """The variables that name this folder's profiles."""
    return {"HWNAS_PROFILES": str(place / "profiles"), "COLUMNS": "300"}


def latency(*words: str, at: Path, code: int = 0) -> str:
    """Runs ``nas latency``; returns what it printed, errors if it failed."""
    return nas("latency", *words, at=at, code=code, environment=own(at))


def test_a_model_folder_is_answered_for_as_its_architecture_is(place: Path) -> None:
    graph = load_architecture(place / "network.json").graph
    model = random_model(graph, np.random.default_rng(0))
    write_model(place / "model", StoredModel("m", model, ModelInput(), None, {"from": "import"}))
    words = ("--device", "alpha", "--json")

    for command in ("predict", "compare"):
        how = words if command == "predict" else ("--devices", "alpha", "--json")
        of_file = json.loads(latency(command, "network.json", *how, at=place))
        of_model = json.loads(latency(command, "model", *how, at=place))
        if command == "predict":
            assert of_model.pop("architecture") == "model"
            of_file.pop("architecture")
        assert of_model == of_file
    several = json.loads(latency("predict", "model", "other.json", *words, at=place))
    assert [row["architecture"] for row in several] == ["model", "other.json"]


def test_a_prediction_is_what_the_model_says(place: Path) -> None:
    said = json.loads(latency("predict", "network.json", "--device", "alpha", "--json", at=place))

    model = LatencyModel.load("alpha", place / "profiles")
    wanted = model.latency(load_architecture(place / "network.json").graph)
    assert (said["architecture"], said["device"]) == ("network.json", "alpha")
    assert from_json(said["latency"]) == wanted
    text = latency("predict", "network.json", "--device", "alpha", at=place)
    assert re.search(r"^[\d.]+ [mu]s \(90% interval: [\d.]+ to [\d.]+ [mu]s\), predicted", text)


def test_an_explanation_adds_up(place: Path) -> None:
    words = ("predict", "network.json", "--device", "alpha", "--explain")

    said = json.loads(latency(*words, "--json", at=place))
    parts = sum(row["median_ms"] for row in said["kernels"]) + said["overhead_ms"]
    assert parts == pytest.approx(said["latency"]["median_ms"])
    text = latency(*words, at=place)
    assert "beyond the kernels" in text
    assert all(row["node"] in text for row in said["kernels"])


def test_several_networks_are_a_table_and_one_mistake_hides_no_other(place: Path) -> None:
    files = ("network.json", "none.json", "other.json")

    text = latency("predict", *files, "--device", "alpha", at=place, code=2)
    assert "cannot read architecture file none.json: No such file" in text
    rows = json.loads(latency("predict", *files, "--device", "alpha", "--json", at=place, code=2))
    assert [row["architecture"] for row in rows] == list(files)
    assert ["error" in row for row in rows] == [False, True, False]


def test_devices_are_compared(place: Path) -> None:
    text = latency("compare", "network.json", at=place)
    assert "relative to alpha" in text
    assert re.search(r"^alpha .* 1\.00x", text, re.MULTILINE)
    assert re.search(r"^beta .* 0\.[45]\dx", text, re.MULTILINE)

    text = latency("compare", "network.json", "--devices", "phone, beta", at=place)
    assert re.search(r"^phone .* device 'phone' has no latency model ", text, re.MULTILINE)
    assert re.search(r"^beta .* 1\.00x", text, re.MULTILINE)
    rows = json.loads(
        latency("compare", "network.json", "--devices", "beta,phone", "--json", at=place)
    )
    assert [(row["device"], "error" in row) for row in rows] == [("beta", False), ("phone", True)]
    latency("compare", "network.json", "--devices", "phone", at=place, code=2)


def test_a_kernel_that_nobody_timed_is_refused_unless_asked_to_extrapolate(place: Path) -> None:
    said = latency("predict", "unknown.json", "--device", "alpha", at=place, code=2)
    assert len(said.strip().splitlines()) == 1

    words = ("predict", "unknown.json", "--device", "alpha", "--extrapolate", "--json")
    assert from_json(json.loads(latency(*words, at=place))["latency"]).interval is not None


def test_a_device_that_was_never_profiled_is_one_line(place: Path, tmp_path: Path) -> None:
    said = latency("predict", "network.json", "--device", "phone", at=place, code=2)
    assert said == (
        "error: device 'phone' has no latency model (profiled devices: alpha, beta); make one "
        "with nas device profile phone --space SPACE.yaml\n"
    )
    save_architecture(Architecture("", (), get_network("lenet5")()), tmp_path / "network.json")
    for words in (["compare", "network.json"], ["serve"]):
        said = latency(*words, at=tmp_path, code=2)
        assert said == (f"error: {NO_DEVICE}\n")


@pytest.mark.parametrize("what", COMMANDS)
def test_a_query_imports_nothing_heavy(what: str, place: Path) -> None:
    said, heavy = heavy_imports("latency", *COMMANDS[what], at=place, environment=own(place))

    assert "ms" in said
    assert heavy == []


@pytest.fixture
def service(place: Path) -> Iterator[httpx.Client]:
    """``nas latency serve`` as a user starts it."""
    with subprocess.Popen(
        [sys.executable, "-m", "nas", "latency", "serve", "--port", "0"],
        cwd=place,
        env=os.environ | own(place),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"serving alpha, beta on (http://127\.0\.0\.1:\d+) ", said)
            assert found is not None, said
            with httpx.Client(base_url=found[1]) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_the_service_says_what_the_command_line_says(place: Path, service: httpx.Client) -> None:
    for name in ("network", "unknown"):
        data = to_json(load_architecture(place / f"{name}.json"))
        answer = service.post("/predict", json={"device": "alpha", "architecture": data}).json()
        words = ("predict", f"{name}.json", "--device", "alpha")
        if name == "network":
            said = json.loads(latency(*words, "--json", at=place))
            assert answer == {key: said[key] for key in ("device", "latency")}
        else:
            assert latency(*words, at=place, code=2) == f"error: {answer['error']}\n"
    devices = service.get("/devices").json()["devices"]
    model = LatencyModel.load("alpha", place / "profiles")
    assert devices[0] == {"name": "alpha", "about": json.loads(json.dumps(dict(model.about)))}


def test_a_device_profiled_anew_is_picked_up(place: Path, service: httpx.Client) -> None:
    data = to_json(load_architecture(place / "network.json"))
    query = {"device": "beta", "architecture": data}
    before = service.post("/predict", json=query).json()["latency"]["median_ms"]

    make_profile(place / "profiles", "beta", factor=5.0)
    after = service.post("/predict", json=query).json()["latency"]["median_ms"]
    make_profile(place / "profiles", "beta", factor=0.5)

    assert after == pytest.approx(10 * before, rel=0.3)
