"""Every registered step makes a network, says what is true of it, and repeats itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.compression.running.folder import CompressionFolder
from nas.compression.running.recipe import RecipeFile
from nas.compression.running.rehearsal import rehearse
from nas.compression.running.start import load_start
from nas.compression.steps.registry import STEPS
from nas.models.folder import read_model
from search_spaces.graphs.cost import network_cost
from tests.nas.parts.compressions import compressed, network_folder, recipe_of

# What a step must be told; the others go by their defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "sparse_train": {"norm_l1": 1e-3},
    "prune": {"ratio": 0.5, "multiple": 1},
    "prune_weights": {"ratio": 0.5},
    "share": {"conv_bits": 3, "linear_bits": 2},
    "factorise": {"energy": 0.5},
    "quantize": {"images": 32},
    "export": {"formats": "torch"},
}


def step(name: str) -> dict[str, Any]:
    return {name: SETTINGS.get(name, {})}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("model") / "small")


@pytest.mark.parametrize("name", STEPS)
def test_a_step_makes_a_network_and_says_what_it_is_worth(
    name: str, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    original, record = compressed(model, recipe_of([step(name)], digits_file), tmp_path / "run")

    found = read_model(tmp_path / "run" / "result").model
    cost = network_cost(found.graph)
    assert (record.standing.params, record.standing.macs) == (cost.params, cost.macs)
    assert record.summary
    assert record.name == name
    assert (cost.macs < original.standing.macs) == (name in ("prune", "narrow", "factorise"))
    assert (cost.weight_bytes < original.standing.bytes) == (
        STEPS[name].compresses and name not in ("sparse_train", "prune_weights", "share")
    )
    assert bool(record.curves) == STEPS[name].trains


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_repeats_itself(
    name: str, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of([step(name)], digits_file)

    one, other = (compressed(model, recipe, tmp_path / each)[-1] for each in "ab")

    arrays = [read_model(tmp_path / each / "result").model.arrays for each in "ab"]
    assert all(np.array_equal(arrays[0][key], arrays[1][key]) for key in arrays[0])
    assert one.standing == other.standing


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_rehearsed_in_an_instant(
    name: str, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    file = RecipeFile.model_validate(recipe_of([step(name)], digits_file))

    (planned,) = rehearse(load_start(str(model), file.recipe()), file.recipe())

    assert planned.epochs == STEPS[name].trains
    assert planned.summary
    assert not list(tmp_path.iterdir())


def test_slimming_takes_the_channels_whose_scales_fell(
    digits_file: dict[str, Any], tmp_path: Path
) -> None:
    model = network_folder(tmp_path / "small")
    steps = [
        {"sparse_train": {"norm_l1": 0.02, "epochs": 2, "optimizer": "sgd"}},
        {"prune": {"ratio": 0.5, "multiple": 1}},
        "finetune",
    ]

    records = compressed(model, recipe_of(steps, digits_file), tmp_path / "run")

    sparse, cut = records[1], records[2]
    before, after = sparse.histograms.values()
    assert sum(before.counts) == sum(after.counts) == 32
    mean = [np.dot(each.counts, each.edges[1:]) / 32 for each in (before, after)]
    assert mean[1] < mean[0]
    assert {row.layer for row in cut.layers if row.channels[0] != row.channels[1]} <= {
        *("stem", "first", "second")
    }
    assert cut.figures["accuracy_norms_recomputed"] == cut.standing.accuracy
    assert CompressionFolder(tmp_path / "run").summary_file.exists()


def test_a_target_of_macs_or_parameters_is_reached(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    for key, value in (("macs", 0.6), ("params", 900)):
        recipe = recipe_of([{"prune": {key: value, "multiple": 1}}], digits_file)
        original, record = compressed(model, recipe, tmp_path / key)

        has = getattr(original.standing, key)
        most = value if value > 1 else value * has
        assert 0.5 * most < getattr(record.standing, key) <= most


def test_excluded_layers_keep_their_channels(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"ratio": 0.3, "multiple": 1, "exclude": "s*", "importance": "taylor"}
    (_, record) = compressed(
        model, recipe_of([{"prune": settings}], digits_file), tmp_path / "run"
    )

    widths = {row.layer: row.channels for row in record.layers}
    assert widths["stem"] == (8, 8)
    assert (widths["first"][1] or 16) < 16
