"""Compressions for tests: a small network with a shortcut, few digits, recipes of short steps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.compression.running.folder import CompressionFolder
from nas.compression.running.recipe import RecipeFile
from nas.compression.running.records import StepRecord
from nas.compression.running.run import compress
from nas.compression.running.start import load_start
from nas.compression.running.watch import CompressionWatch
from nas.models.folder import ModelInput, StoredModel, write_model
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Add, Conv2d, GlobalAvgPool, Linear
from tests.nas.parts.command_line import nas

CLASSES = tuple(str(digit) for digit in range(10))
TRAINING = {"epochs": 1, "batch_size": 32, "learning_rate": 0.01, "warmup_epochs": 0}


def shortcut_net(width: int = 8, classes: int = 10, side: int = 8) -> Graph:
    net = GraphBuilder((1, side, side))
    x = net.add("stem", Conv2d(width, (3, 3)), net.input)
    y = net.add("first", Conv2d(2 * width, (3, 3)), x)
    y = net.add("second", Conv2d(width, (1, 1), activation="none"), y)
    x = net.add("sum", Add("relu"), x, y)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("logits", Linear(classes), x)
    return net.graph()


def network_folder(path: Path, graph: Graph | None = None, **known: Any) -> Path:  # noqa: ANN401
    """Writes a network with drawn weights, which nobody has trained, and returns where."""
    model = random_model(graph or shortcut_net(), np.random.default_rng(0))
    names = CLASSES if model.graph.output.shape[0] == 10 else None
    given = {"input": ModelInput(), "class_names": names, "source": {"from": "test"}} | known
    write_model(path, StoredModel("small", model, **given))
    return path


def recipe_of(steps: Sequence[Any], digits: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns a recipe on 96 training, 64 validation and 64 test images."""
    data = {**digits, "train": 96, "validation": 64, "test": 64}
    return {"name": "small", "data": data, "training": TRAINING, "steps": list(steps), **more}


def recipe_file(path: Path, recipe: dict[str, Any]) -> Path:
    """Writes a recipe; JSON is YAML."""
    path.write_text(json.dumps(recipe), "utf-8")
    return path


def compressed(
    model: Path | str,
    recipe: dict[str, Any],
    to: Path,
    *,
    resume: bool = False,
    watch: CompressionWatch | None = None,
) -> tuple[StepRecord, ...]:
    """Runs a recipe in this process, without timing anything."""
    file = RecipeFile.model_validate(recipe)
    start = load_start(str(model), file.recipe())
    return compress(start, file, CompressionFolder(to), resume=resume, measure=False, watch=watch)


def refused(
    model: Path | str, recipe: dict[str, Any], at: Path, *words: str, dry: bool = True
) -> list[str]:
    """Returns what a compression says that is refused, line by line."""
    file = recipe_file(at / "recipe.yaml", recipe)
    more = ["--dry-run"] if dry else []
    said = nas("compress", str(model), str(file), "--no-measure", *words, *more, at=at, code=2)
    assert not (at / "runs" / "small" / "result").exists()
    assert not (at / "runs" / "small" / "steps" / "01-finetune").exists()
    return [line for line in said.splitlines() if "says no mean and std" not in line]
