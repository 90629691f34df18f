"""Transfer from the command line: a few networks measured, then predicted as everywhere."""

import json
from pathlib import Path

import pytest

from nas.serving.models import ProfiledModels
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture
from tests.nas.parts.command_line import nas
from tests.nas.parts.profiles import make_profile, mobile

SPACE = """
resolution: [32]
stem: {width: [8], kernel_size: 3, stride: 2}
stages:
  - depth: [1, 2]
    width: [16, 24, 32]
    blocks:
      - inverted_residual: {expand_ratio: [2, 4], kernel_size: [3]}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PROFILES", "CACHE", "DEVICES"):
        monkeypatch.setenv(f"HWNAS_{name}", str(tmp_path / name.lower()))
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "new.toml").write_text(
        'description = "this machine, whatever else it does"\nmax_drift = 1000\n'
    )
    make_profile(tmp_path / "profiles", "alpha", factor=1.0)
    make_profile(tmp_path / "profiles", "beta", factor=0.5)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("host", "--from", "nobody"), "device 'nobody' has no latency model"),
        (("new", "--from", "alpha,new"), "device 'new' cannot stand in for itself"),
        (("host", "--from", "alpha", "--samples", "3"), "samples must be from 5 to 100, got 3"),
        (("nowhere", "--from", "alpha"), "unknown device 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], message: str, place: Path) -> None:
    said = nas("device", "transfer", *words, "--space", "space.yaml", at=place, code=2)

    assert message in said


@pytest.mark.slow
def test_a_device_is_predicted_after_five_networks(place: Path) -> None:
    words = ("device", "transfer", "new", "--from", "alpha,beta", "--space", "space.yaml")
    said = nas(*words, "--samples", "5", at=place)
    assert "5 networks measured" in said
    assert "from alpha" in said
    assert "0 networks measured" in nas(*words, "--samples", "5", at=place)

    save_architecture(Architecture("network", (), mobile(0.5)), place / "network.json")
    text = nas(
        *("latency", "predict", "network.json", "--device", "new"),
        *("--extrapolate", "--explain", "--json"),
        at=place,
    )
    found = json.loads(text)
    assert found["latency"]["model"].startswith("transferred")
    assert {kernel["source"] for kernel in found["kernels"]} == {"transferred"}

    models = ProfiledModels()
    assert models.names() == ("alpha", "beta", "new")
    graph = mobile(0.5)
    served = models.get("new")
    assert served is models.get("new")
    latency = served.latency(graph, extrapolate=True)
    assert latency.median_ms == pytest.approx(found["latency"]["median_ms"])
    make_profile(place / "profiles", "beta", factor=0.7)
    assert models.get("new") is not served
