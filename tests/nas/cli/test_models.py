"""Commands on model folders and exports: as on architectures and runs, or one line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.models.folder import ModelInput, read_model
from search_spaces.space.architecture import graph_hash, save_architecture
from search_spaces.space.space import Architecture
from tests.nas.parts.command_line import nas
from tests.nas.parts.models import CLASSES, small_folder, small_graph

DATA = "data: {kind: npz, path: d.npz, train: 100, validation: 50, test: 50}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, data for them, and YAML files that name it."""
    place = tmp_path_factory.mktemp("models")
    small_folder(place / "m")
    small_folder(place / "unknown", class_names=None, input=ModelInput())
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 8, 8, 1), np.uint8), np.arange(200) % 10
    np.savez(place / "d.npz", images=images, labels=labels, class_names=np.array(CLASSES))
    names = ", ".join(CLASSES)
    (place / "data.yaml").write_text(DATA.replace("d.npz,", f"d.npz, class_names: [{names}],"))
    (place / "numbers.yaml").write_text(DATA)
    return place


def test_a_model_is_shown_layer_by_layer(made: Path) -> None:
    said = nas("show", "m", "--no-times", at=made)

    assert f"small {graph_hash(small_graph())}" in said
    assert "classifier" in said


@pytest.mark.slow
def test_a_model_is_timed(made: Path) -> None:
    words = ("--device", "host-onnxruntime", "--max-drift", "1000", "--json")
    said = json.loads(nas("latency", "measure", "m", *words, at=made))

    assert said["median_ms"] > 0


@pytest.mark.slow
def test_a_model_is_exported_with_images_or_without(made: Path, tmp_path: Path) -> None:
    words = ("--formats", "onnx,torch", "--no-measure")
    alone = nas("export", "m", *words, "--to", str(tmp_path / "a"), at=made)
    tested = nas(
        "export", "m", *words, "--to", str(tmp_path / "b"), "--data", "data.yaml", at=made
    )
    again = nas("export", str(tmp_path / "b"), *words, "--to", str(tmp_path / "c"), at=made)

    assert "small exported to" in alone
    assert "checked on 32 random images; its accuracy is not known without --data" in alone
    assert "random" not in tested
    assert re.search(r"\d %", tested)
    assert "its accuracy is not known" in again
    assert read_model(tmp_path / "c").class_names == CLASSES


def test_statistics_that_are_taken_from_the_data_are_said(made: Path, tmp_path: Path) -> None:
    words = ("--formats", "onnx", "--no-measure", "--to", str(tmp_path / "a"))
    said = nas("export", "unknown", *words, "--data", "numbers.yaml", at=made)

    assert "small says no mean and std of its input; taken are the data's, mean 0.5" in said


def test_a_model_is_quantized_and_its_layers_are_told_apart(made: Path, tmp_path: Path) -> None:
    words = ("m", "--data", "data.yaml", "--images", "50")
    to = ("--no-measure", "--formats", "onnx,torch", "--to", str(tmp_path / "q"))
    said = nas("quantize", *words, *to, at=made)

    assert f"small at w8a8 exported to {tmp_path}/q" in said
    assert "body" in nas("sensitivity", *words, at=made)
    said = nas("quantize", str(tmp_path / "q"), "--data", "data.yaml", at=made, code=2)
    assert "small has low-bit layers already" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("quantize", "m"), "m is a model without images to calibrate on; name a run, or a YAML"),
        (("sensitivity", "m"), "m is a model without images to calibrate on"),
        (("export", "m", "--pick", "best"), "m is one model; --pick, --max-latency-ms and"),
        (("export", "m", "--retrained"), "m is one model; --pick, --max-latency-ms and"),
        (("export", "m", "--device", "moon"), "moon"),
        (("export", "m", "--formats", "pickle"), "unknown format 'pickle'"),
        (("export", "m", "--data", "none.yaml"), "cannot read none.yaml"),
        (("export", "m", "--data", "d.npz"), "d.npz is not text in UTF-8"),
        (("export", "m", "--data", "bare.yaml"), "bare.yaml must have a section 'data'"),
        (("export", "m", "--data", "wrong.yaml"), "wrong.yaml: data.normalization.std is missing"),
        (("export", "m", "--data", "zero.yaml"), "std must be numbers above 0"),
        (("export", "m", "--data", "numbers.yaml"), "calls its output 0 'digit 0'"),
        (("export", "m", "--data", "other.yaml"), "expects inputs of mean 0.4 and std 0.3"),
        (("export", "nowhere"), "nowhere holds no run"),
        (("export", "d.npz"), "d.npz holds no run"),
        (("show", "damaged", "--no-times"), "damaged is damaged (architecture.json is missing)"),
        (("export", "damaged"), "damaged is damaged (architecture.json is missing)"),
        (("latency", "compare", "damaged"), "damaged is damaged (architecture.json is missing)"),
        (("retrain", "m"), "m holds no run"),
    ],
)
def test_what_does_not_work_is_one_line(
    words: tuple[str, ...], told: str, made: Path, tmp_path: Path
) -> None:
    (made / "bare.yaml").write_text("name: x\n")
    (made / "wrong.yaml").write_text("data: {normalization: {mean: [0.5]}}\n")
    (made / "zero.yaml").write_text("data: {normalization: {mean: [0.5], std: [0]}}\n")
    other = (made / "data.yaml").read_text().replace("{kind", "{normalization: NORM, kind")
    (made / "other.yaml").write_text(other.replace("NORM", "{mean: [0.1], std: [0.3]}"))
    shutil.rmtree(made / "damaged", ignore_errors=True)
    (small_folder(made / "damaged") / "architecture.json").unlink()
    to = ("--to", str(tmp_path / "out")) if words[0] == "export" else ()

    said = nas(*words, *to, at=made, code=2)

    assert told in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_holds_something_else_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")

    said = nas("export", "m", "--to", str(tmp_path), at=made, code=2)
    assert "is there and is no export of hwnas" in said
    said = nas("export", "m", "--to", "m", "--no-measure", at=made, code=2)
    assert "is there and is no export of hwnas" in said


def test_a_folder_of_architectures_may_lie_beside_models(made: Path, tmp_path: Path) -> None:
    from nas.cli.latency import files_of

    for name in ("a", "b"):
        save_architecture(Architecture(name, (), small_graph()), tmp_path / f"{name}.json")

    found = files_of([tmp_path, made / "m", tmp_path / "a.json"])

    assert found == [tmp_path / "a.json", tmp_path / "b.json", made / "m"]
