"""The reference pages name every key of the run file and every block with its settings."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import BaseModel

from nas.compression.running.recipe import RecipeFile, StopFile
from nas.compression.steps.registry import STEPS
from nas.data.sources.registry import SOURCES
from nas.problem.metrics import METRICS
from nas.problem.records import SAMPLERS
from nas.problem.run_file import (
    BaselineFile,
    DataFile,
    LatencyFile,
    RunFile,
    SearchFile,
    TrainingFile,
)
from nas.problem.space_file import HeadFile, SpaceFile, StageFile, StemFile
from search_spaces.blocks import BLOCKS

DOCS = Path(__file__).parent.parent / "docs"
RUN_FILE = (DOCS / "run-file.md").read_text()
MAKEFILE = (DOCS.parent / "Makefile").read_text().splitlines()
SPACES = (DOCS / "spaces.md").read_text()
IN_SPACES = (SpaceFile, StemFile, StageFile, HeadFile)
IN_RUN_FILE = (RunFile, DataFile, TrainingFile, LatencyFile, SearchFile, BaselineFile)


@pytest.mark.parametrize("model", [*IN_SPACES, *IN_RUN_FILE], ids=lambda model: model.__name__)
def test_every_key_of_the_run_file_is_explained(model: type[BaseModel]) -> None:
    page = SPACES if model in IN_SPACES else RUN_FILE

    assert [key for key in model.model_fields if key not in page] == []


def test_every_key_and_step_of_a_recipe_is_explained() -> None:
    page = (DOCS / "compress.md").read_text()
    keys = [key for key in RecipeFile.model_fields if f"`{key}`" not in page]
    stops = [key for key in StopFile.model_fields if f"`stop.{key}`" not in page]

    assert (keys, stops) == (["stop"], [])
    for name, record in STEPS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        settings = [item.name for item in fields(record)]  # type: ignore[arg-type]
        assert [key for key in settings if f"`{key}`" not in row] == []


def test_every_source_metric_and_sampler_is_explained() -> None:
    settings = {item.name for source in SOURCES.values() for item in fields(source)}  # type: ignore[arg-type]
    names = {*SOURCES, *METRICS, *SAMPLERS, *settings}

    assert [name for name in sorted(names) if f"`{name}`" not in RUN_FILE] == []


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_listed_with_its_settings(name: str) -> None:
    (row,) = (line for line in SPACES.splitlines() if line.startswith(f"| `{name}` "))
    choices = BLOCKS[name].choices

    assert [choice.name for choice in choices if f"`{choice.name}`" not in row] == []
    for choice in choices:
        for value in choice.values:
            text = value if isinstance(value, str) else f"{value:g}"
            assert choice.name == "form" or text in row, f"{choice.name} {text}"


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in MAKEFILE if "-m benchmarks." in line])
def test_the_benchmarks_of_the_makefile_take_their_arguments(line: str) -> None:
    _, _, words = line.partition("-m ")
    module, *options = words.split()
    command = [sys.executable, "-m", module, *options, "--help"]

    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
