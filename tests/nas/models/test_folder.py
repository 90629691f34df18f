"""Model folders: what is written is what is read, and what was damaged since is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nas.export.write import export_network
from nas.models.folder import (
    ModelInput,
    StoredModel,
    check_place,
    fingerprint,
    read_architecture,
    read_model,
    write_model,
)
from nas.models.metadata import is_model_folder, sha256
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from tests.nas.parts.models import CLASSES, small_folder, small_graph, small_model
from tests.nas.parts.runs import make_trained_run


def same(one: StoredModel, other: StoredModel) -> bool:
    arrays = one.model.arrays
    return (
        replace(one, model=other.model) == other
        and one.model.graph == other.model.graph
        and arrays.keys() == other.model.arrays.keys()
        and all(np.array_equal(arrays[name], other.model.arrays[name]) for name in arrays)
    )


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes metadata.json, and makes its checksums right again."""
    file = path / "metadata.json"
    data = json.loads(file.read_text())
    for name in ("architecture.json", "model.safetensors"):
        data["files"][name] = sha256((path / name).read_bytes())
    change(data)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"class_names": None, "source": {"from": "compression", "step": {"prune": 0.5}}},
        {"input": ModelInput()},
        {"input": ModelInput("x", (0.5,), (1.0,), (1, 20, 24), "pad", "teal")},
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, known: dict[str, Any]) -> None:
    written = small_model(**known)

    write_model(tmp_path / "m", written)

    assert same(read_model(tmp_path / "m"), written)
    assert is_model_folder(tmp_path / "m")
    assert read_architecture(tmp_path / "m").graph == written.model.graph
    assert read_architecture(tmp_path / "m").space == "small"


def test_codes_are_kept_at_their_width_and_come_back_as_they_were(tmp_path: Path) -> None:
    graph = uniform(small_graph(), W8A8)
    coded = small_model(model=snap_weights(random_model(graph, np.random.default_rng(0))))

    write_model(tmp_path / "m", coded)

    assert same(read_model(tmp_path / "m"), coded)
    assert load_file(tmp_path / "m/model.safetensors")["body.weight"].dtype == np.uint8


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_beside(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        path = small_folder(tmp_path / "m")
        found.append({file.name: file.read_bytes() for file in path.iterdir()})

    assert found[0] == found[1]
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_an_export_is_a_model_folder_with_its_batch_norms_folded(tmp_path: Path) -> None:
    results, setting = make_trained_run(tmp_path)
    trial = results.front[0]
    to = tmp_path / "out"
    export_network(results, trial, to, ["onnx", "torch"], setting=setting, measure=False)

    found = read_model(to)

    folded = fold_batch_norm(results.run.load_model(trial.hash))
    assert fingerprint(found.model) == fingerprint(folded)
    assert found.name == "digits trial 0"
    assert found.class_names == tuple(map(str, range(10)))
    assert found.input.mean == setting.splits.normalization.mean
    assert found.input.image_shape == (1, 8, 8)
    assert found.source["from"] == "export"
    with pytest.raises(UserError, match="is there and is no model folder"):
        check_place(to)
    export_network(results, trial, to, ["onnx"], setting=setting, measure=False)
    with pytest.raises(UserError, match="export it again with 'torch' among the formats"):
        read_model(to)


def test_a_fingerprint_is_of_what_is_computed(tmp_path: Path) -> None:
    model = small_model().model
    other = Model(
        model.graph, dict(model.arrays) | {"stem.weight": 2 * model.arrays["stem.weight"]}
    )

    assert fingerprint(read_model(small_folder(tmp_path / "m")).model) == fingerprint(model)
    assert fingerprint(other) != fingerprint(model)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            {"class_names": CLASSES[:9]},
            "small: a network of 10 outputs needs as many class names, got 9",
        ),
        ({"name": ""}, "a model's name must be 1 to 200 printable letters"),
        ({"name": "a\nb"}, "a model's name must be 1 to 200 printable letters"),
        ({"input": ModelInput(mean=(0.1,) * 3, std=(1.0,) * 3)}, "each of its 1 channels, got 3"),
        ({"input": ModelInput(image_shape=(3, 8, 8))}, "of 1 channels, got"),
        ({"input": ModelInput(image_shape=(1, 0, 8))}, "of 1 channels, got"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(known: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_model(**known)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), None, "must both be given"),
        (None, (0.5,), "must both be given"),
        ((), (), "as many numbers"),
        ((0.5,), (0.5, 0.5), "as many numbers"),
        ((float("nan"),), (0.5,), "as many numbers"),
        ((0.5,), (0.0,), "numbers above 0"),
        ((0.5,), (-1.0,), "numbers above 0"),
        ((0.5,), (float("inf"),), "numbers above 0"),
    ],
)
def test_statistics_that_are_none_are_refused(mean: Any, std: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(UserError, match=message):
        ModelInput(mean=mean, std=std)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stem.weight", np.nan, "'stem.weight' must hold finite numbers"),
        ("classifier.bias", np.inf, "'classifier.bias' must hold finite numbers"),
        ("body.norm.variance", -0.1, "'body.norm.variance' must hold variances, got -0.1"),
    ],
)
def test_numbers_that_are_none_are_neither_written_nor_read(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    right = small_model()
    arrays = {key: array.copy() for key, array in right.model.arrays.items()}
    arrays[name].flat[0] = value
    wrong = replace(right, model=Model(right.model.graph, arrays))

    with pytest.raises(UserError, match=message):
        write_model(tmp_path / "m", wrong)
    assert list(tmp_path.iterdir()) == []
    path = small_folder(tmp_path / "m")
    save_file(arrays, path / "model.safetensors")
    rewrite(path, lambda data: None)
    with pytest.raises(UserError, match=message):
        read_model(path)


def drop_array(path: Path) -> None:
    arrays = load_file(path / "model.safetensors")
    del arrays["stem.weight"]
    save_file(arrays, path / "model.safetensors")
    rewrite(path, lambda data: None)


def reshape_array(path: Path) -> None:
    arrays = load_file(path / "model.safetensors")
    arrays["stem.weight"] = arrays["stem.weight"][:4]
    save_file(arrays, path / "model.safetensors")
    rewrite(path, lambda data: None)


def truncate(path: Path) -> None:
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[: len(content) // 2])


def truncate_with_checksum(path: Path) -> None:
    truncate(path)
    rewrite(path, lambda data: None)


def edit(**changes: Any) -> Callable[[Path], None]:  # noqa: ANN401
    return lambda path: rewrite(path, lambda data: data.update(changes))


def edit_input(**changes: Any) -> Callable[[Path], None]:  # noqa: ANN401
    return lambda path: rewrite(path, lambda data: data["input"].update(changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda path: (path / "architecture.json").unlink(), "architecture.json is missing"),
        (lambda path: (path / "metadata.json").unlink(), "has no metadata.json"),
        (lambda path: (path / "metadata.json").write_text("{"), "is damaged"),
        (lambda path: (path / "metadata.json").write_text("[]"), "it holds no mapping"),
        (
            lambda path: (path / "architecture.json").write_text("{}"),
            "not the file that was written",
        ),
        (truncate, "not the file that was written"),
        (truncate_with_checksum, "model.safetensors: "),
        (drop_array, "the graph needs array 'stem.weight'"),
        (reshape_array, "array 'stem.weight' has shape"),
        (edit(format="hwnas.other"), "is of format 'hwnas.other' version 1"),
        (edit(format=["hwnas.model"]), "is of format"),
        (edit(version=2), "is of format 'hwnas.model' version 2"),
        (edit(class_names=["a"]), "needs as many class names, got 1"),
        (edit(class_names="digits"), "class_names must be a list"),
        (edit(source=3), "source must be a mapping"),
        (edit(name=7), "name must be a text"),
        (edit(files=[]), "files must be a mapping"),
        (
            lambda path: rewrite(path, lambda data: data.pop("input")),
            "metadata.json lacks 'input'",
        ),
        (edit_input(shape=[3, 8, 8]), "input.shape must be the graph's"),
        (edit_input(shape=None), "input.shape must be a list"),
        (edit_input(mean=[0.5, 0.5, 0.5]), "as many numbers"),
        (edit_input(mean=["a"]), "input.mean"),
        (edit_input(std=[0]), "numbers above 0"),
        (edit_input(fit="stretch"), "input.fit must be one of"),
        (edit_input(background=3), "input.background must be a text"),
    ],
)
def test_damage_is_told_in_one_line_that_names_the_folder(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    path = small_folder(tmp_path / "m")
    damage(path)

    with pytest.raises(UserError, match=message) as caught:
        read_model(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_model_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    (tmp_path / "empty").mkdir()

    for name in ("file", "full"):
        with pytest.raises(UserError, match="is there and is no model folder of hwnas"):
            small_folder(tmp_path / name)
    assert (tmp_path / "full/file").read_text() == "mine"
    assert read_model(small_folder(tmp_path / "empty")).name == "small"
    assert read_model(small_folder(tmp_path / "empty", name="other")).name == "other"


@pytest.mark.parametrize(("path", "got"), [("nowhere", "nothing"), ("file", "a file")])
def test_what_is_no_folder_is_told(tmp_path: Path, path: str, got: str) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(UserError, match=f"must be a model folder, .*, got {got}"):
        read_model(tmp_path / path)
