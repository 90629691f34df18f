"""Model folders as files that run: with images or without, and what is told of them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from latency_models.measurement.sparse_layers import with_sparsity
from nas.data.splits import Normalization
from nas.data.tensors import TensorSplit
from nas.export.network import network_of_model
from nas.export.quantize import QuantizationRecipe, quantize, quantized_network
from nas.export.verify import drawn_images, environment
from nas.export.write import ExportReport, ship
from nas.models.examples import examples_of
from nas.models.folder import ModelInput, fingerprint, read_model
from nas.problem.records import DataConfig, LatencyConfig
from nas.training.accuracy import accuracy, logits
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Linear
from search_spaces.graphs.precision import Sparsity
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.models import small_model

DIGITS = DataConfig("digits", {}, 100, 100, 200)
NAMES = tuple(map(str, range(10)))


def exported(to: Path, *formats: str, **known: Any) -> ExportReport:  # noqa: ANN401
    return ship(network_of_model(small_model(**known)), to, formats, measure=False)


def predicted(folder: Path, *words: str, code: int = 0) -> str:
    command = [sys.executable, str(folder / "predict.py"), "--runtime", "onnx", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(), cwd=folder
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """An export that no images were given for."""
    return exported(tmp_path_factory.mktemp("alone") / "out", "onnx", "torch")


def test_without_images_files_are_checked_on_random_ones_and_no_accuracy_is_told(
    alone: ExportReport,
) -> None:
    known = json.loads((alone.folder / "metadata.json").read_text())
    text = (alone.folder / "README.md").read_text()

    assert max(alone.checks.parity.differences.values()) < 1e-4
    assert known["parity"]["of"] == "random images"
    assert known["parity"]["images"] == 32
    assert (known["test"], known["data"], known["run"], known["trial"]) == (None,) * 4
    assert known["weights"]["validation_accuracy"] is None
    assert known["weights"]["source"]["file"] == "small.onnx"
    assert known["input"]["mean"] == [0.4]
    assert "Its accuracy is not known" in text
    assert "on 32 random images" in text
    assert "est accuracy" not in text
    assert "test images" not in text


def test_random_images_have_the_statistics_of_the_input() -> None:
    given = Normalization((0.5, 0.4, 0.3), (0.1, 0.2, 0.1))

    inputs = drawn_images((3, 30, 40), given).inputs(slice(None), (3, 30, 40)).numpy()

    assert inputs.shape == (32, 3, 30, 40)
    assert inputs.mean() == pytest.approx(0, abs=0.15)
    assert inputs.std() == pytest.approx(1, abs=0.15)
    assert abs(np.corrcoef(inputs.reshape(32, -1))[0, 1]) < 0.2  # no two are alike


def test_an_export_of_a_model_is_a_model_again(alone: ExportReport) -> None:
    found, model = read_model(alone.folder), small_model()

    assert fingerprint(found.model) == fingerprint(fold_batch_norm(model.model))
    assert found.class_names == model.class_names
    assert found.name == model.name
    assert found.input.normalization == model.input.normalization
    assert found.source["weights"]["source"] == dict(model.source)


def test_a_picture_is_classified_by_the_names_of_the_model(
    alone: ExportReport, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    model = small_model().model
    inputs = ((pixels / 255 - 0.4) / 0.3).astype(np.float32)[None, None]
    np.save(tmp_path / "in.npy", inputs)

    said = predicted(alone.folder, str(tmp_path / "p.png"))
    predicted(alone.folder, str(tmp_path / "in.npy"), "--logits", str(tmp_path / "out.npy"))

    found = np.load(tmp_path / "out.npy")
    assert f"digit {found[0].argmax()} (" in said
    wanted = logits(model, one_image(pixels)).numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def one_image(pixels: NDArray[np.uint8]) -> TensorSplit:
    split = drawn_images((1, 8, 8), Normalization((0.4,), (0.3,))).take(slice(1))
    return replace(split, pixels=torch.from_numpy(pixels[None, ..., None].copy()))


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    report = exported(tmp_path / "out", "onnx", class_names=None, input=ModelInput())
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "p.png")

    said = predicted(report.folder, str(tmp_path / "p.png"), code=1)
    assert "says no mean and std" in said
    known = json.loads((report.folder / "metadata.json").read_text())
    assert known["class_names"] is None
    text = (report.folder / "README.md").read_text()
    assert "10 classes, whose names are not known" in text
    assert "How pixels are normalised is not known" in text
    known["input"] |= {"mean": [0.5], "std": [0.5]}
    (report.folder / "metadata.json").write_text(json.dumps(known))
    assert "p.png: class " in predicted(report.folder, str(tmp_path / "p.png"))


def test_with_images_it_is_tested_as_it_expects_them(tmp_path: Path) -> None:
    stored, examples = examples_of(small_model(class_names=None), DIGITS)
    network = network_of_model(stored, examples)

    report = ship(network, tmp_path / "out", ["onnx"], examples, measure=False)

    assert examples.splits.normalization == Normalization((0.4,), (0.3,))
    assert report.checks.num_test == 100
    assert report.validation_accuracy == accuracy(stored.model, examples.tensors.validation)
    known = json.loads((tmp_path / "out/metadata.json").read_text())
    assert known["class_names"] == list(NAMES)
    assert known["test"]["images"] == 100
    assert known["input"]["mean"] == [0.4]
    said = {item.key: item.value for item in onnx.load(tmp_path / "out/model.onnx").metadata_props}
    assert json.loads(said["hwnas.class_names"]) == list(NAMES)
    assert f"of {report.checks.num_test} images" in (tmp_path / "out/README.md").read_text()


def test_statistics_that_nobody_knows_are_the_datas_and_that_is_said() -> None:
    model = small_model(class_names=None)
    known, silent = examples_of(model, DIGITS)[1], replace(model, input=ModelInput())

    stored, examples = examples_of(silent, DIGITS)
    given = replace(DIGITS, normalization=Normalization((0.2,), (0.5,)))
    _, told = examples_of(silent, given)

    assert known.notes == told.notes == ()
    assert "small says no mean and std of its input; taken are the data's" in examples.notes[0]
    assert stored.input.normalization == examples.splits.normalization
    assert told.splits.normalization == given.normalization


@pytest.mark.parametrize(
    ("known", "data", "message"),
    [
        ({}, DIGITS, r"calls its output 0 'digit 0', digits train that class '0'"),
        ({"shape": (3, 8, 8)}, DIGITS, "takes images of 3 channels, digits train has 1"),
        ({"classes": 7}, DIGITS, "has 7 outputs, digits train 10 classes"),
        (
            {"class_names": None},
            replace(DIGITS, normalization=Normalization((0.5,), (0.3,))),
            "expects inputs of mean 0.4 and std 0.3, digits train has mean 0.5 and std 0.3",
        ),
        (
            {"class_names": None},
            replace(DIGITS, normalization=Normalization((0.5,) * 3, (0.3,) * 3)),
            "a number for each of 1 channels, got 3",
        ),
    ],
)
def test_data_that_is_not_the_models_is_refused(
    known: dict[str, Any], data: DataConfig, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        examples_of(small_model(**known), data)


def test_a_model_is_quantized_and_shipped_with_where_it_came_from(tmp_path: Path) -> None:
    stored, examples = examples_of(small_model(class_names=None), DIGITS)
    network = network_of_model(stored, examples)

    found = quantize(network, QuantizationRecipe("w8a8", num_images=100), examples)
    ship(
        quantized_network(network, found),
        tmp_path / "q",
        ["onnx", "torch"],
        examples,
        measure=False,
    )

    known = json.loads((tmp_path / "q/metadata.json").read_text())
    assert known["weights"]["precisions"]["body"] == "w8a8"
    assert known["weights"]["source"]["file"] == "small.onnx"
    again = network_of_model(read_model(tmp_path / "q"))
    with pytest.raises(UserError, match="small has low-bit layers already"):
        quantize(again, QuantizationRecipe("w8a8"), examples)
    assert found.bytes < found.bytes_before


@pytest.mark.slow
def test_a_compiled_file_is_sparse_where_that_was_faster_and_says_so(tmp_path: Path) -> None:
    net = GraphBuilder((1, 16, 16))
    x = net.add("few", Linear(1024, activation="relu", sparsity=Sparsity(1 / 64)), net.input)
    net.add("classifier", Linear(10), x)
    model = random_model(net.graph(), np.random.default_rng(0))
    stored = small_model((1, 16, 16), model=Model(with_sparsity(model.graph, {}), model.arrays))
    network = network_of_model(stored, latency=LatencyConfig(max_drift=1000))

    timed = ship(network, tmp_path / "timed", ["tvm"])
    untimed = ship(network, tmp_path / "untimed", ["tvm"], measure=False)

    (layer,) = timed.sparse
    known = json.loads((timed.folder / "metadata.json").read_text())
    assert (layer.name, layer.pays) == ("few", True)
    assert known["sparse"] == {"few": str(layer)}
    assert known["deployed_hash"] == graph_hash(stored.model.graph)
    assert f"- `few`: {layer}" in (timed.folder / "README.md").read_text()
    assert timed.sizes["model.so"] < untimed.sizes["model.so"] / 4
    assert untimed.sparse == ()
    assert timed.checks.parity.differences["model.so"] < 1e-4
