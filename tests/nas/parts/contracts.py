"""What contract suites share: who keeps a contract, and candidates whose fate is known."""

import ast
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import sleep

import numpy as np

from nas.evaluation.ray.trainable import Shared
from nas.problem.answers import Confusion
from nas.training.candidate import MayGoOn
from nas.training.checkpoints import Checkpoints
from nas.training.loop import TrainingResult
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d
from search_spaces.space.space import Architecture
from tests.nas.parts.runs import baseline

ROOT = Path(__file__).parents[3]
QUICK, SLOW, WRONG, KILLER = (baseline(f"width {width}", width) for width in (4, 8, 12, 16))


class FatedTraining:
    """Does with a network what its width says: trains it, takes its time, fails, or dies."""

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        stem = candidate.graph.nodes[0].operator
        assert isinstance(stem, Conv2d)
        match stem.out_channels:
            case 8:
                sleep(1)
            case 12:
                raise UserError("the disk is full")
            case 16:
                os.kill(os.getpid(), signal.SIGKILL)
        model = random_model(candidate.graph, np.random.default_rng(0))
        answers = Confusion(2, ((0, 0, 3), (0, 1, 1)))
        return TrainingResult(model, (0.5,), (0.75,), 1.0, True, answers)

    def forget(self, key: str) -> None:
        """Nothing was kept."""


def open_fated(shared: Shared, checkpoints: Checkpoints, may_go_on: MayGoOn) -> FatedTraining:
    return FatedTraining()


def keeping(*methods: str) -> set[str]:
    """Returns the names of our classes that have all of these methods, without the Protocols."""
    return {name for name, found in classes() if found >= set(methods)}


def classes() -> Iterator[tuple[str, set[str]]]:
    """Yields the name and the methods of every class of ``nas`` that is no Protocol."""
    for path in (ROOT / "nas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            if "Protocol" not in map(ast.unparse, node.bases):
                defined = (item for item in node.body if isinstance(item, ast.FunctionDef))
                yield node.name, {item.name for item in defined}
