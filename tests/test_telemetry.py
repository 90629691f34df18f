"""Libraries write nothing to the user's home folder and are told to send nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search_spaces.telemetry import SETTINGS

ROOT = Path(__file__).parent.parent
RUN_ONE = """
import numpy as np
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Linear

net = GraphBuilder((1, 2, 2))
net.add("head", Linear(2), net.input)
model = random_model(net.graph(), np.random.default_rng(0))
session = open_session(onnx_model(model).SerializeToString())
session.run(None, {"input": np.ones((1, 1, 2, 2), "f")})
"""


def written_by(code: str, home: Path, **variables: str) -> set[str]:
    """The files that a process with an empty home folder leaves there."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    kept = {name: value for name, value in kept.items() if not name.startswith("XDG_")}
    environment = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | variables
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_running_a_network_with_onnx_runtime_leaves_nothing_in_the_home_folder(
    tmp_path: Path,
) -> None:
    assert written_by(RUN_ONE, tmp_path / "home") == set()


@pytest.mark.parametrize("module", ["search_spaces", "latency_models", "nas"])
def test_importing_any_package_switches_reports_off_but_for_who_wants_them(
    module: str, tmp_path: Path
) -> None:
    code = f"import os, {module}; print(*(os.environ[name] for name in {list(SETTINGS)!r}))"
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}

    def told(**variables: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=kept | variables, capture_output=True, text=True, check=True, cwd=ROOT
        )
        return done.stdout.strip()

    assert told() == " ".join(SETTINGS.values())
    assert told(RAY_USAGE_STATS_ENABLED="1") == "1 1"
