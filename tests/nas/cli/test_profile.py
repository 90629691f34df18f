"""``nas device profile`` and ``fit``: budgets, mistakes in one line, and what they report."""

from pathlib import Path

import pytest

from latency_models.devices.cpu import AVX2
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from nas.problem import yaml_text
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture
from tests.latency_models.parts.profiles import at, graphs, write_profile
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import SPACE


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiles and devices of these tests."""
    for name in ("PROFILES", "DEVICES", "CACHE"):
        monkeypatch.setenv(f"HWNAS_{name}", str(tmp_path / name.lower()))
    (tmp_path / "space.yaml").write_text(yaml_text.dump(SPACE))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("profile", "phone", "--space", "space.yaml"), "phone"),
        (("profile", "host", "--space", "space.yaml", "--budget", "soon"), "a budget must be"),
        (("profile", "host", "--space", "none.yaml"), "none.yaml"),
        (("fit", "host"), "'host' was never profiled"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    said = nas("device", *words, at=tmp_path, code=2)
    assert said.startswith("error: ")
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_a_space_must_be_given(tmp_path: Path) -> None:
    assert "--space" in nas("device", "profile", "host", at=tmp_path, code=2)


def test_a_model_is_fitted_again_and_says_what_it_knows(tmp_path: Path) -> None:
    root = tmp_path / "profiles"
    own = write_profile(root)
    write_profile(root, conditions=at("2026-02-01T00:00:00+00:00"), factor=1.2, session="two")
    write_profile(root, conditions=at("2025-02-01T00:00:00+00:00", cpu="old"), session="zero")
    fit_latency_model(own, AVX2).save(root)

    said = nas("device", "fit", "formula", "--model", "lookup", at=tmp_path)

    model = LatencyModel.load("formula", root)
    assert model.name == "lookup"
    assert "formula: lookup latency model" in said
    assert f"{model.about['kernels']} kernels, 40 networks" in said
    assert f"{model.about['set_aside']} readings under other conditions" in said
    assert model.about["set_aside"] > 0
    assert "1.200 times as long as before 2026-01-01" in said
    assert "this time" not in said
    assert str(root / "formula" / "model.npz") in said.replace("\n", "")
    assert "next: nas latency predict ARCHITECTURE.json --device formula" in said


@pytest.mark.slow
def test_this_machine_is_profiled_and_then_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latency_models.prediction.fitting.LEAST_KERNELS", 5)  # in five seconds
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "busy.toml").write_text(
        'description = "this machine, whatever else it does"\nmax_drift = 1000\n'
    )
    words = ("--space", "space.yaml", "--channels", "1", "--seed", "1", "--budget", "5s")

    said = nas("device", "profile", "busy", *words, at=tmp_path)

    assert "this time" in said
    assert "readings" in said
    space_graph = graphs(1, seed=0)[0]
    save_architecture(Architecture("", (), space_graph), tmp_path / "network.json")
    predict = ("latency", "predict", "network.json", "--device", "busy", "--extrapolate")
    assert "predicted" in nas(*predict, at=tmp_path)
