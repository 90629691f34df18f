"""A recipe says what a file does not; runs of before there were recipes stay what they were."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas.problem import yaml_text
from nas.problem.run_file import read_kept_file, read_run_file
from nas.problem.training_config import FAST, RECIPES, TrainingConfig, training_config, with_recipe
from nas.search.checks import read_search_file
from nas.training.loop import train
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.precision import PRECISIONS
from tests.nas.parts.tiny import SPACE
from tests.nas.parts.trainings import dropping_net, few_digits


def written(path: Path, training: object = None) -> Path:
    data: dict[str, Any] = {"name": "old", "space": SPACE}
    if training is not None:
        data["training"] = training
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml_text.dump(data))
    return path


def trained(path: Path, *overrides: str) -> TrainingConfig:
    return read_run_file(path, overrides).config().training


def test_a_new_file_is_fast_and_plain_is_what_records_have(tmp_path: Path) -> None:
    nothing = written(tmp_path / "a.yaml")

    assert trained(nothing) == training_config()
    assert trained(nothing).recipe == "fast"
    assert trained(nothing).optimizer == FAST["optimizer"]
    assert trained(nothing, "training.recipe=plain") == TrainingConfig()
    assert trained(written(tmp_path / "b.yaml", {"recipe": "plain"})) == TrainingConfig()


def test_what_is_said_wins(tmp_path: Path) -> None:
    said = {"norm_momentum": 0.3, "augmentation": {"flip": True}}

    found = trained(written(tmp_path / "a.yaml", said), "training.learning_rate=0.5")

    assert found == training_config(learning_rate=0.5, **said)
    assert (found.norm_momentum, found.learning_rate) == (0.3, 0.5)
    assert found.augmentation.flip


def test_the_rate_of_one_optimizer_is_not_given_to_another() -> None:
    for other in ("adamw", "sgd"):
        found = training_config(optimizer=other)
        assert found.learning_rate == TrainingConfig().learning_rate
        assert found.whitening
    assert training_config(optimizer=FAST["optimizer"]) == training_config()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_written_out_says_the_same(name: str) -> None:
    first = with_recipe({"recipe": name}, "fast")

    assert with_recipe(first, "plain") == first
    assert asdict(training_config(**first)) == asdict(training_config(recipe=name))


def test_a_run_of_before_there_were_recipes_is_plain_and_goes_on_with_its_file(
    tmp_path: Path,
) -> None:
    users = written(tmp_path / "mine.yaml", {"epochs": 3})
    kept = written(tmp_path / "runs" / "old" / "config.yaml", {"epochs": 3})

    assert read_kept_file(kept).config().training == TrainingConfig(epochs=3)
    assert read_search_file(users, (), tmp_path / "runs").training.recipe == "fast"
    (kept.parent / "run.json").write_text("{}")
    again = read_search_file(users, (), tmp_path / "runs")
    assert again.config().training == TrainingConfig(epochs=3)
    named = read_search_file(users, ["training.recipe=fast"], tmp_path / "runs")
    assert named.config().training == training_config(epochs=3)


@pytest.mark.parametrize("name", ["quick", 3, None, ["fast"]])
def test_an_unknown_recipe_is_one_line_with_the_known_ones(name: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.recipe: .*'fast' or 'plain'"):
        trained(written(tmp_path / "a.yaml", {"recipe": name}))


@pytest.mark.parametrize("name", ["fp32", "w4a4", "xnor"])
def test_the_fast_recipe_learns_faster_than_the_plain_one(name: str) -> None:
    graph, data = dropping_net(PRECISIONS[name]), few_digits()
    said = {"epochs": 8, "batch_size": 32, "device": "cpu"}

    fast, plain = (
        train(graph, data, training_config(recipe=recipe, **said)) for recipe in ("fast", "plain")
    )

    assert fast.train_loss[-1] < plain.train_loss[-1]
