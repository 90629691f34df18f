"""A recipe is resumed to the same networks, ends where it must, and keeps what held."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.compression.running.folder import CompressionFolder
from nas.compression.running.watch import CompressionWatch, EpochDone
from nas.models.folder import read_model
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.compressions import compressed, network_folder, recipe_file, recipe_of

STEPS = [
    {"sparse_train": {"ratio": 0.9, "rounds": 2, "epochs": 2}},
    {"prune": {"ratio": 0.5, "multiple": 1}},
    {"distill": {"epochs": 3}},
    {"quantize": {"images": 32}},
]
WEIGHTS = [
    {"prune_weights": {"max_accuracy_drop": 0.05}},
    {"prune_weights": {"ratio": 0.75, "rounds": 2}},
    {"share": {"conv_bits": 3, "linear_bits": 2, "epochs": 2}},
    {"distill": {"epochs": 2}},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("model") / "small")


def check_same(one: Path, other: Path) -> None:
    """Checks that two compressions came to the same networks, and said the same of them."""
    names = sorted(path.name for path in (one / "steps").iterdir())
    assert names == sorted(path.name for path in (other / "steps").iterdir())
    for part in ("original", "result", *(f"steps/{n}" for n in names if "." not in n)):
        ours, theirs = (read_model(path / part).model for path in (one, other))
        assert ours.graph == theirs.graph
        assert all(np.array_equal(ours.arrays[key], theirs.arrays[key]) for key in ours.arrays)
    for name in (name for name in names if name.endswith(".json")):
        ours, theirs = (json.loads((path / "steps" / name).read_text()) for path in (one, other))
        for record in (ours, theirs):
            del record["seconds"]
            for curve in record["curves"]:
                del curve["seconds"]
        assert ours == theirs


class StopError(Exception):
    """What ends a compression in a test, as Ctrl-C does."""


@pytest.mark.parametrize(("steps", "epochs"), [(STEPS, 7), (WEIGHTS, 7)], ids=["cut", "weights"])
def test_a_compression_stopped_after_any_epoch_ends_as_one_that_was_not(
    steps: list[Any], epochs: int, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(steps, digits_file)
    compressed(model, recipe, tmp_path / "whole")

    for runs in range(20):
        watch = CompressionWatch(on_epoch=after_the_first())
        try:
            compressed(model, recipe, tmp_path / "cut", resume=runs > 0, watch=watch)
            break
        except StopError:
            continue

    assert runs == epochs - 1  # as many as there are, but for the first
    check_same(tmp_path / "whole", tmp_path / "cut")


def after_the_first() -> Callable[[EpochDone], None]:
    """Returns what stops a process at the second epoch that it runs."""
    seen: list[EpochDone] = []

    def stop(epoch: EpochDone) -> None:
        seen.append(epoch)
        if len(seen) > 1:
            raise StopError

    return stop


@pytest.mark.sweep(2)
@pytest.mark.parametrize(
    "steps",
    [
        [{"finetune": {"epochs": 40}}, {"prune": {"ratio": 0.5, "multiple": 1}}, "finetune"],
        [{"prune_weights": {"ratio": 0.75, "rounds": 2, "epochs": 20}}, {"share": {"epochs": 3}}],
    ],
    ids=["cut", "weights"],
)
def test_a_compression_that_was_killed_ends_as_one_that_was_not(
    steps: list[Any], model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(steps, digits_file)
    compressed(model, recipe, tmp_path / "whole")
    file = recipe_file(tmp_path / "recipe.yaml", recipe)

    words = ["compress", str(model), str(file), "--to", str(tmp_path / "cut"), "--no-measure"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    while not list((tmp_path / "cut" / "checkpoints").glob("*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "result").exists()

    said = nas(*words, "--resume", at=tmp_path)

    assert "result:" in said
    check_same(tmp_path / "whole", tmp_path / "cut")


def test_a_recipe_that_was_changed_is_not_gone_on_with(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    compressed(model, recipe_of(["finetune"], digits_file), tmp_path / "run")

    changed = recipe_of([{"finetune": {"epochs": 2}}], digits_file)
    with pytest.raises(UserError, match=r"steps\.0\.finetune\.epochs: None -> 2"):
        compressed(model, changed, tmp_path / "run", resume=True)
    with pytest.raises(
        UserError, match="already holds a compression; go on with it with --resume"
    ):
        compressed(model, changed, tmp_path / "run")
    with pytest.raises(UserError, match="holds no compression"):
        compressed(model, changed, tmp_path / "other", resume=True)


def test_another_network_is_not_gone_on_with(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(["finetune"], digits_file)
    compressed(model, recipe, tmp_path / "run")
    other = network_folder(tmp_path / "other")
    compressed(other, recipe, tmp_path / "run", resume=True)  # the same, elsewhere

    result = tmp_path / "run" / "result"
    with pytest.raises(UserError, match="is not the network that"):
        compressed(result, recipe, tmp_path / "run", resume=True)


@pytest.fixture(scope="module")
def learnt(digits_file: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is right about most digits."""
    place = tmp_path_factory.mktemp("learnt")
    recipe = recipe_of([{"finetune": {"epochs": 12, "learning_rate": 0.03}}], digits_file)
    recipe["data"]["train"] = 400
    records = compressed(network_folder(place / "small"), recipe, place / "run")
    assert records[-1].standing.accuracy > 0.5
    return place / "run" / "result"


def test_what_costs_too_much_accuracy_is_not_the_result(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = [
        {"narrow": {"factor": 0.2, "epochs": 1, "learning_rate": 1e-6}},
        {"prune": {"ratio": 0.5, "multiple": 1}},
        "finetune",
        {"export": {"formats": "torch"}},
    ]
    recipe = recipe_of(steps, digits_file, stop={"max_accuracy_drop": "5 points"})

    records = compressed(learnt, recipe, tmp_path / "run")

    assert [record.is_kept for record in records] == [True, False, False, False, True]
    assert [record.skipped for record in records][2:4] == [
        "accuracy had fallen too far after 1 narrow"
    ] * 2
    graph = read_model(learnt).model.graph
    assert read_model(tmp_path / "run" / "result").model.graph == graph
    exported = read_model(tmp_path / "run" / "export").model.graph
    assert network_cost(exported).macs == network_cost(graph).macs


def test_a_cut_at_the_end_is_looked_at_too(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    cut = {"prune": {"ratio": 0.8, "multiple": 1, "importance": "l2"}}
    recipe = recipe_of([cut], digits_file, stop={"max_accuracy_drop": 0.0})

    records = compressed(learnt, recipe, tmp_path / "run")

    assert records[-1].is_kept is False
    result = read_model(tmp_path / "run" / "result").model
    assert result.graph == read_model(learnt).model.graph


def test_once_it_is_enough_nothing_more_is_cut(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    prune = {"prune": {"ratio": 0.3, "multiple": 1}}
    recipe = recipe_of([prune, "finetune", prune, "finetune"], digits_file, stop={"until": []})
    params = compressed(model, recipe, tmp_path / "all")[1].standing.params

    recipe["stop"] = {"until": f"params <= {params}"}
    records = compressed(model, recipe, tmp_path / "run")

    assert [bool(record.skipped) for record in records] == [False, False, False, True, True]
    assert records[3].skipped == f"params <= {params} holds already"
    assert records[4].skipped == "nothing was cut since the last training"
    assert records[-1].standing.params == params


def test_nobody_else_may_work_in_the_folder(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(["finetune"], digits_file)

    def another(title: str) -> None:
        with pytest.raises(UserError, match=f"is being worked on by process {os.getpid()}"):
            compressed(model, recipe, tmp_path / "run", resume=True)

    compressed(model, recipe, tmp_path / "run", watch=CompressionWatch(on_step=another))
    assert CompressionFolder(tmp_path / "run").result.is_dir()
