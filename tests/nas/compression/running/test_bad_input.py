"""What cannot be is one line, said before what takes long, and nothing is half-written."""

from pathlib import Path
from typing import Any

import pytest

from nas.models.folder import ModelInput
from tests.nas.parts.compressions import (
    network_folder,
    recipe_of,
    refused,
    shortcut_net,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("model") / "small")


def test_every_mistake_of_a_recipe_is_told_at_once(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = [{"fintune": {}}, {"prune": {}}, {"prune": {"ratio": 1}}, {"distill": {"alpah": 1}}]
    recipe = recipe_of(steps, digits_file, stop={"max_accuracy_drop": 0.5})

    lines = refused(model, recipe, tmp_path)

    assert len(lines) == 5
    assert "0.5 points are written '0.5 points'" in lines[0]
    assert "unknown key 'fintune' in steps.0; did you mean 'finetune'?" in lines[1]
    assert "steps.1.prune: prune needs one of ratio, macs and params, got none" in lines[2]
    assert "steps.2.prune: ratio must be above 0 and below 1" in lines[3]
    assert "unknown key 'alpah' in steps.3.distill; did you mean 'alpha'?" in lines[4]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "a recipe needs at least one step; known steps: train, "),
        ([{"prune": {"ratio": 0.1}, "finetune": {}}], "a step must be one key, its name"),
        ([{"finetune": {"epochs": 0}}], "steps.0.finetune: training epochs must be at least 1"),
        ([{"finetune": {"epochs": 2, "warmup_epochs": 3}}], "between 0 and epochs \\(= 2\\)"),
        ([{"quantize": {"precision": "w9a9"}}], "unknown precision 'w9a9'"),
        ([{"export": {"formats": "tflite"}}], "unknown format 'tflite'"),
        ([{"sparse_train": {"norm_l1": 0}}], "norm_l1 must be above 0, or auto, got 0"),
        ([{"narrow": {"factor": 2}}], "factor must be above 0 and below 1, got 2"),
        (
            [{"prune": {"ratio": 0.5, "exclude": "stm"}}],
            "steps.0.prune: no layer whose channels can go is called 'stm'; they are stem, ",
        ),
        (
            [{"prune": {"ratio": 0.9, "floor": 0.5, "multiple": 1}}],
            "steps.0.prune: a ratio of 0.9 .* cannot be reached",
        ),
        ([{"prune": {"macs": 1e12}}], "steps.0.prune: macs must be below what the network has"),
        (
            ["quantize", {"quantize": {}}],
            "steps.1.quantize: stem: quantize starts from a float32 network",
        ),
        (
            ["finetune", {"quantize": {"layers": {"stme": "fp32"}}}],
            "steps.1.quantize: no layer is called 'stme'; the layers are stem, first",
        ),
    ],
)
def test_a_step_that_cannot_apply_is_one_line(
    steps: list[Any], said: str, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    import re

    (line,) = refused(model, recipe_of(steps, digits_file), tmp_path)

    assert re.search(said, line), line


def test_what_the_dry_run_finds_the_run_finds_before_it_trains(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = ["finetune", {"quantize": {"layers": {"stme": "fp32"}}}]

    *_, line = refused(model, recipe_of(steps, digits_file), tmp_path, dry=False)

    assert "steps.1.quantize: no layer is called 'stme'" in line


def test_a_teacher_must_have_the_classes_and_the_input(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    for name, graph, said in (
        ("classes", shortcut_net(classes=7), r"output shape (10, 1, 1), got (7, 1, 1)"),
        ("input", shortcut_net(side=12), r"input shape (1, 8, 8), got (1, 12, 12)"),
    ):
        teacher = network_folder(tmp_path / name, graph)
        steps = [{"distill": {"teacher": str(teacher)}}]

        (line,) = refused(model, recipe_of(steps, digits_file), tmp_path)

        assert "steps.0.distill: teacher" in line
        assert said in line
    steps = [{"distill": {"teacher": str(tmp_path / "none")}}]
    (line,) = refused(model, recipe_of(steps, digits_file), tmp_path)
    assert "must be a model folder" in line


def test_a_network_must_fit_the_data(digits_file: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(["finetune"], digits_file)

    other = network_folder(tmp_path / "seven", shortcut_net(classes=7))
    assert "small has 7 outputs" in refused(other, recipe, tmp_path)[0]
    assert "did you mean 'resnet18'?" in refused("resnet8", recipe, tmp_path)[0]
    assert "nas import" in refused(tmp_path / "recipe.yaml", recipe, tmp_path)[0]
    assert (
        "steps.0 must be train, got finetune"
        in refused("lenet5", {**recipe, "network": {"resolution": 28}}, tmp_path)[0]
    )


def test_network_is_for_published_ones(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(["finetune"], digits_file, network={"width": 0.5})

    assert (
        "network.width and network.resolution are of a published"
        in refused(model, recipe, tmp_path)[0]
    )


def test_another_folder_is_not_written_into(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")

    lines = refused(
        model, recipe_of(["finetune"], digits_file), tmp_path, "--to", str(mine), dry=False
    )

    assert "is there and holds something else" in lines[-1]
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_inputs_are_normalised_as_the_network_expects(
    digits_file: dict[str, Any], tmp_path: Path
) -> None:
    from nas.compression.running.recipe import RecipeFile
    from nas.compression.running.start import load_start, read_teacher
    from nas.nn.interpreter import from_model

    known = ModelInput(mean=(0.5,), std=(0.25,))
    model = network_folder(tmp_path / "known", input=known)
    other = network_folder(tmp_path / "other", input=ModelInput(mean=(0.1,), std=(0.5,)))
    file = RecipeFile.model_validate(recipe_of(["finetune"], digits_file))

    start = load_start(str(model), file.recipe())
    teacher = read_teacher(str(other), start, start.stored.model.graph)

    split = start.tensors.train
    inputs = split.inputs(slice(4), (1, 8, 8))
    pixels = inputs * 0.25 + 0.5
    ours = from_model(teacher)(inputs)
    theirs = from_model(start.stored.model)((pixels - 0.1) / 0.5)
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [{"prune": {"ratio": 0.5, "multiple": "eight"}}],
            "steps.0.prune.multiple: input should be a valid integer or 'device', got 'eight'",
        ),
        (
            [{"sparse_train": {"norm_l1": "high"}}],
            "steps.0.sparse_train.norm_l1: input should be a valid number or 'auto', got 'high'",
        ),
        (
            ["export", "finetune", "export"],
            "a recipe has one step export, which writes the folder export/, got 2; leave",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line(
    steps: list[Any], said: str, model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = refused(model, recipe_of(steps, digits_file), tmp_path)

    assert said in line


def test_steps_that_are_no_list_are_told_so(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    (line,) = refused(model, {**recipe_of([], digits_file), "steps": "prune"}, tmp_path)

    assert "steps: input should be a valid list, got 'prune'" in line
