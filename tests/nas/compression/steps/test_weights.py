"""Single weights are pruned and shared as a recipe says, and every later step leaves them so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.compression.report.page import write_compression_report
from nas.compression.running.folder import CompressionFolder
from nas.models.folder import read_model
from nas.training.holding import hold_of
from search_spaces.compression.sharing import codebook
from search_spaces.compression.weight_pruning import kept_share, kept_weights, real_weights
from search_spaces.graphs.model import Model
from tests.nas.parts.compressions import compressed, network_folder, recipe_of, refused

DEEP = [
    {"prune_weights": {"ratio": 0.75, "rounds": 2}},
    {"share": {"conv_bits": 3, "linear_bits": 2, "learning_rate": 0.001}},
    "finetune",
    {"distill": {"temperature": 2.0}},
]


@pytest.fixture(scope="module")
def learnt(digits_file: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is right about most digits."""
    place = tmp_path_factory.mktemp("learnt")
    recipe = recipe_of([{"finetune": {"epochs": 12, "learning_rate": 0.03}}], digits_file)
    recipe["data"]["train"] = 400
    records = compressed(network_folder(place / "small"), recipe, place / "run")
    assert records[-1].standing.accuracy > 0.5
    return place / "run" / "result"


@pytest.fixture(scope="module")
def deep(
    learnt: Path, digits_file: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A compression by pruning, sharing, and training on twice."""
    run = tmp_path_factory.mktemp("deep") / "run"
    compressed(learnt, recipe_of(DEEP, digits_file), run)
    return run


def after(run: Path, step: str) -> Model:
    return read_model(run / "steps" / step).model


def zeros_of(model: Model) -> dict[str, list[bool]]:
    return {name: (weight == 0).ravel().tolist() for name, weight in real_weights(model).items()}


def test_every_training_after_pruning_and_sharing_keeps_both(deep: Path) -> None:
    pruned, shared = after(deep, "01-prune_weights"), after(deep, "02-share")

    assert kept_share(pruned) == pytest.approx(0.25, abs=0.01)
    assert (hold_of(pruned), hold_of(shared)) == ("zeros", "shared")
    for step in ("03-finetune", "04-distill"):
        made = after(deep, step)
        assert zeros_of(made) == zeros_of(pruned)
        for name, weight in real_weights(made).items():
            before = real_weights(shared)[name]
            assert len(codebook(weight)) == len(codebook(before)) <= 8
            assert (weight != before)[weight != 0].any()


def test_the_records_say_what_became_of_each_layer(deep: Path, digits_file: Any) -> None:  # noqa: ANN401
    found = [
        json.loads((deep / "steps" / f"{step}.json").read_text())
        for step in ("01-prune_weights", "02-share")
    ]

    assert [len(record["curves"]) for record in found] == [2, 1]
    assert found[0]["figures"]["kept"] == pytest.approx(0.25, abs=0.01)
    kept = kept_weights(after(deep, "01-prune_weights"))
    notes = {row["layer"]: row["note"] for row in found[0]["layers"]}
    left, of = kept["first"]
    assert notes["first"] == f"{100 * left / of:.2f} % of {of} weights kept"
    values = {row["layer"]: row["note"] for row in found[1]["layers"]}
    assert values["first"] == "8 values, 3 bits"
    assert values["logits"] == "4 values, 2 bits"
    assert found[1]["figures"]["values"] == {"stem": 8, "first": 8, "second": 8, "logits": 4}


def test_rounds_prune_by_the_same_factor_each(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    """A quarter in two rounds is half of the half, which were other weights by then."""
    steps = [{"prune_weights": {"ratio": ratio, "rounds": 1}} for ratio in (0.5, 0.75)]
    compressed(learnt, recipe_of(steps, digits_file), tmp_path / "two")
    once = [{"prune_weights": {"ratio": 0.75, "rounds": 2}}]
    compressed(learnt, recipe_of(once, digits_file), tmp_path / "one")

    ours, theirs = (
        after(tmp_path / "one", "01-prune_weights"),
        after(tmp_path / "two", "02-prune_weights"),
    )
    assert zeros_of(ours) == zeros_of(theirs)


def test_zeros_grow_again_only_where_that_is_said(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = [
        {"prune_weights": {"ratio": 0.5, "rounds": 0}},
        {"finetune": {"hold": "none"}},
    ]
    recipe = recipe_of(steps, digits_file)
    compressed(learnt, recipe, tmp_path / "grown")
    recipe["training"] = {**recipe["training"], "hold": "zeros"}
    recipe["steps"][1] = "finetune"
    compressed(learnt, recipe, tmp_path / "held")

    assert kept_share(after(tmp_path / "grown", "02-finetune")) > 0.99
    assert kept_share(after(tmp_path / "held", "02-finetune")) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_stated_drop_finds_a_ratio_of_each_layer(
    rounds: int, learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"max_accuracy_drop": 0.1, "rounds": rounds, "layers": {"stem": 0.0}}
    recipe = recipe_of([{"prune_weights": settings}], digits_file)

    original, record = compressed(learnt, recipe, tmp_path / "run")

    assert record.standing.accuracy >= original.standing.accuracy - 0.1
    kept = kept_weights(after(tmp_path / "run", "01-prune_weights"))
    assert kept["stem"][0] == kept["stem"][1]
    assert record.figures["kept"] < 0.8
    assert {curve.layer for curve in record.layer_curves} == {"first", "second", "logits"}
    assert all(0 < curve.amounts[0] < curve.amounts[-1] < 1 for curve in record.layer_curves)
    page = write_compression_report(CompressionFolder(tmp_path / "run")).read_text()
    assert "share of weights at zero" in page


def test_a_stated_drop_finds_bits_of_each_layer(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"max_accuracy_drop": 0.05, "retrain": False, "layers": {"logits": 7}}
    recipe = recipe_of([{"share": settings}], digits_file)

    original, record = compressed(learnt, recipe, tmp_path / "run")

    assert record.standing.accuracy >= original.standing.accuracy - 0.05
    made = real_weights(after(tmp_path / "run", "01-share"))
    assert len(codebook(made["logits"])) == min(128, np.unique(made["logits"]).size)
    assert all(len(codebook(made[name])) <= 128 for name in ("stem", "first", "second"))
    assert {curve.amounts for curve in record.layer_curves} == {(8, 7, 6, 5, 4, 3, 2, 1)}


def test_training_values_is_taken_back_where_it_costs(
    learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"conv_bits": 5, "learning_rate": 10.0, "optimizer": "sgd", "gradient_clip": 1.0}
    steps = [{"share": {"conv_bits": 5, "retrain": False}}, {"share": settings}]

    _, once, trained = compressed(learnt, recipe_of(steps, digits_file), tmp_path / "run")

    assert trained.standing.accuracy == once.standing.accuracy
    assert "training them took it to" in trained.summary


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"prune_weights": {}}, "prune_weights needs one of ratio, threshold, sensitivity, max_"),
        ({"prune_weights": {"ratio": 0.5, "threshold": 1}}, "got ratio and threshold"),
        ({"prune_weights": {"ratio": 1}}, "a ratio of pruning must be at least 0 and below 1"),
        (
            {"prune_weights": {"ratio": 0.5, "layers": {"stem": 2}}},
            "at least 0 and below 1, got 2",
        ),
        ({"prune_weights": {"ratio": 0.5, "rounds": -1}}, "rounds must be at least 0, got -1"),
        ({"prune_weights": {"ratio": 0.5, "scope": "net"}}, "scope"),
        ({"prune_weights": {"max_accuracy_drop": 5}}, "5 points are written '5 points'"),
        ({"share": {"conv_bits": 0}}, "conv_bits: weights are shared at 1 to 16 bits, got 0"),
        ({"share": {"layers": {"stem": 20}}}, "stem: weights are shared at 1 to 16 bits, got 20"),
        ({"share": {"conv_bits": 4, "max_accuracy_drop": 0.1}}, "or conv_bits, got both"),
        ({"share": {"init": "best"}}, "init"),
        ({"finetune": {"hold": "masks"}}, "hold"),
        ({"train": {"hold": "zeros"}}, "unknown key 'hold'"),
    ],
)
def test_bad_settings_are_one_line(
    step: dict[str, Any], said: str, learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = refused(learnt, recipe_of([step], digits_file), tmp_path)

    assert said in line


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [{"prune_weights": {"ratio": 0.5, "layers": {"stme": 0.1}}}],
            "steps.0.prune_weights: no layer is called 'stme'; the layers are stem, first",
        ),
        (
            [{"share": {"layers": {"stme": 4}}}],
            "steps.0.share: no layer is called 'stme'; the layers are stem, first",
        ),
        (
            [{"quantize": {"images": 32}}, {"prune_weights": {"ratio": 0.5}}],
            "steps.1.prune_weights: stem: single weights are pruned and shared at fp32, got w8a8",
        ),
    ],
)
def test_what_the_network_cannot_is_said_before_anything_is_trained(
    steps: list[Any], said: str, learnt: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = refused(learnt, recipe_of(steps, digits_file), tmp_path)

    assert said in line
