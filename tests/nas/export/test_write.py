"""Exports: every file gives what the network as trained gives, or is not kept."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from PIL import Image

from latency_models.onnx.parity import ParityError, ParityReport
from nas.data.images import ImageData
from nas.data.sources.registry import load, make_source
from nas.data.splits import Normalization
from nas.data.tensors import place_split
from nas.export.describe import files_correct
from nas.export.formats import FORMATS, Shipment, check_compiler, get_formats
from nas.export.retrain import retrain
from nas.export.verify import CheckReport, check_labels, environment
from nas.export.write import ExportReport, export_network
from nas.problem.search_problem import Setting
from nas.study.results import RunResults
from nas.training.accuracy import accuracy, logits
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from tests.nas.parts.pictures import picture
from tests.nas.parts.runs import make_run, make_trained_run

Shipped = tuple[RunResults, Setting, ExportReport]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Setting]:
    return make_trained_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def shipped(
    trained: tuple[RunResults, Setting], tmp_path_factory: pytest.TempPathFactory
) -> Shipped:
    results, setting = trained
    to = tmp_path_factory.mktemp("exports") / "knee"
    every = tuple(FORMATS)
    report = export_network(results, results.front[0], to, every, setting=setting, measure=False)
    return results, setting, report


@pytest.fixture
def ship_onnx(trained: tuple[RunResults, Setting]) -> Callable[..., ExportReport]:
    results, setting = trained

    def ship(to: Path, **options: object) -> ExportReport:
        given = {"measure": False, **options}
        return export_network(results, results.front[0], to, ["onnx"], setting=setting, **given)  # type: ignore[arg-type]

    return ship


@pytest.mark.slow
def test_every_format_is_shipped_and_is_what_was_trained(shipped: Shipped) -> None:
    results, setting, report = shipped
    model = results.run.load_model(results.front[0].hash)
    assert {row.file for row in FORMATS.values()} <= report.files.keys()
    assert set(report.checks.parity.differences) == {row.file for row in FORMATS.values()}
    assert max(report.checks.parity.differences.values()) < 1e-4
    right = accuracy(model, setting.tensors.test)
    assert report.checks.test_accuracy == pytest.approx(right, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FORMATS))
def test_a_user_gets_the_class_of_a_picture_from_every_file(
    shipped: Shipped, tmp_path: Path, name: str
) -> None:
    results, setting, report = shipped
    model, test = results.run.load_model(results.front[0].hash), setting.splits.test
    path = tmp_path / "picture.png"
    Image.fromarray(test.images[0, ..., 0]).save(path)
    command = [sys.executable, str(report.folder / "predict.py"), "--runtime", name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    best = int(logits(model, setting.tensors.test)[0].argmax())
    assert re.fullmatch(rf"{re.escape(str(path))}: {best} \(\d+\.\d %\)\n", done.stdout)


@pytest.mark.slow
def test_metadata_says_how_to_use_the_files_and_holds_their_checksums(shipped: Shipped) -> None:
    results, setting, report = shipped
    data = json.loads((report.folder / "metadata.json").read_text())
    for name, digest in data["files"].items():
        assert sha256((report.folder / name).read_bytes()).hexdigest() == digest
    assert data["files"].keys() == {path.name for path in report.folder.iterdir()} - {
        "metadata.json"
    }
    assert data["hash"] == results.front[0].hash
    assert data["input"]["shape"] == [1, 8, 8]
    assert data["input"]["mean"] == list(setting.splits.normalization.mean)
    assert data["class_names"] == [str(digit) for digit in range(10)]
    assert data["test"]["correct"] == report.checks.test_correct
    assert data["latency"]["searched"]["median_ms"] > 0
    assert data["latency"]["files"] == {}
    text = (report.folder / "README.md").read_text()
    assert f"{report.checks.test_correct} of {report.checks.num_test} images" in text
    assert len(text.splitlines()) < 45  # a page, of four formats


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["w8a8", "xnor"])
def test_a_low_bit_network_is_shipped_with_what_its_codes_may_differ_by(
    precision: str, tmp_path: Path
) -> None:
    stage = {"depth": 1, "width": 16, "blocks": ["residual_basic"], "precision": precision}
    space = {"resolution": 8, "stem": {"width": 16}, "stages": [stage]}
    results, setting = make_trained_run(tmp_path, space=space)
    trial = results.front[0]

    report = export_network(
        results, trial, tmp_path / "out", ["onnx", "torch"], setting=setting, measure=False
    )

    proto = onnx.load(report.folder / "model.onnx")
    said = {item.key: item.value for item in proto.metadata_props}
    assert precision in json.loads(said["hwnas.precisions"]).values()
    assert report.checks.parity.limit > 1e-4
    # The same weights, folded: a code on the border may move in the image that differs most.
    assert report.checks.parity.differences["model.safetensors"] < 1e-3
    data = json.loads((report.folder / "metadata.json").read_text())
    assert data["test"]["files"] == report.checks.file_correct
    assert abs(report.checks.file_correct["model.onnx"] - report.checks.test_correct) <= 1


def test_where_the_fast_form_of_a_low_bit_file_moves_answers_the_exact_one_is_shipped_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"depth": 1, "width": 8, "blocks": ["plain"], "precision": "w8a8"}
    space = {"resolution": 8, "stem": {"width": 8}, "stages": [stage]}
    results, setting = make_trained_run(tmp_path, space=space)
    right = FORMATS["onnx"]

    def write_fast_ones_wrong(shipment: Shipment, folder: Path) -> None:
        factor = np.float32(1 if shipment.exact else 1.2)
        arrays = {name: array * factor for name, array in shipment.model.arrays.items()}
        right.write(replace(shipment, model=Model(shipment.model.graph, arrays)), folder)

    monkeypatch.setitem(FORMATS, "onnx", replace(right, write=write_fast_ones_wrong))
    report = export_network(
        results, results.front[0], tmp_path / "out", ["onnx"], setting=setting, measure=False
    )

    assert list(report.exact) == ["model.onnx"]
    data = json.loads((report.folder / "metadata.json").read_text())
    assert data["exact"] == report.exact
    assert "`model.onnx` is in its exact form" in (report.folder / "README.md").read_text()
    assert abs(report.checks.file_correct["model.onnx"] - report.checks.test_correct) <= 1


def test_a_file_may_take_a_fixed_number_of_images_and_still_answers_any(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path
) -> None:
    report = ship_onnx(tmp_path / "out", batch=3)

    (given,) = onnx.load(report.folder / "model.onnx").graph.input
    assert given.type.tensor_type.shape.dim[0].dim_value == 3
    assert report.checks.parity.num_images % 3  # the last batch is filled up
    assert "takes 3 images at once" in (report.folder / "README.md").read_text()
    with pytest.raises(UserError, match="at least 1 image, got 0"):
        ship_onnx(tmp_path / "out", batch=0)


def test_a_readme_says_what_runs_the_file_and_names_no_package_of_ours(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path
) -> None:
    folder = ship_onnx(tmp_path / "out").folder
    text = (folder / "README.md").read_text()

    assert "needs ONNX Runtime 1.15 or newer (opset 18, IR version 8)" in text
    assert "INFERENCE_PRECISION_HINT" in text
    assert f"{(folder / 'model.onnx').stat().st_size:,}" in text
    known = json.loads((folder / "metadata.json").read_text())["onnx"]
    assert known == {"opset": 18, "ir_version": 8, "onnxruntime": "1.15", "batch": None}
    commands = [row.install.partition("#")[0].split() for row in FORMATS.values()]
    assert not any("hwnas" in words for words in commands)


def test_files_that_part_in_an_answer_are_told_apart() -> None:
    parity = ParityReport({}, 0.1, 1)
    same = CheckReport(parity, 7, 9, {"a": 7, "b": 7})
    apart = CheckReport(parity, 7, 9, {"a": 7, "b": 8})

    assert files_correct(same) == "the same for every file here"
    assert files_correct(apart).endswith("round some codes otherwise: a 7, b 8")


def test_a_file_that_computes_something_else_is_refused_and_nothing_is_left(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FORMATS["onnx"]

    def write_wrong(shipment: Shipment, folder: Path) -> None:
        arrays = {name: array * np.float32(1.01) for name, array in shipment.model.arrays.items()}
        right.write(replace(shipment, model=Model(shipment.model.graph, arrays)), folder)

    monkeypatch.setitem(FORMATS, "onnx", replace(right, write=write_wrong))
    with pytest.raises(ParityError, match=r"model\.onnx differs"):
        ship_onnx(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_an_earlier_one_as_it_was(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ship_onnx(tmp_path / "out").files

    def write_nothing(shipment: Shipment, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"nothing")

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=write_nothing))
    with pytest.raises(UserError, match=r"model\.onnx does not run in a fresh process"):
        ship_onnx(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(before)


def test_another_count_of_right_answers_is_refused() -> None:
    trained = np.array([[0.0, 1.0], [1.0, 0.999999]], np.float32)
    check_labels("same", trained.copy(), trained, np.array([1, 0]))
    other = np.array([[0.0, 1.0], [0.999999, 1.0]], np.float32)
    with pytest.raises(
        ParityError, match="gets 1 of 2 test images right, the network as trained 2"
    ):
        check_labels("other", other, trained, np.array([1, 0]))
    check_labels("other", other, trained, np.array([1, 0]), allowed=1)


def test_an_export_replaces_an_earlier_one_but_nothing_else(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path
) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no export of hwnas"):
        ship_onnx(to)
    assert (to / "thesis.txt").read_text() == "mine"
    (to / "thesis.txt").unlink()
    first = ship_onnx(to)
    assert ship_onnx(to).files["model.onnx"] == first.files["model.onnx"]


def test_the_onnx_file_says_what_its_input_is(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path
) -> None:
    report = ship_onnx(tmp_path / "out")
    proto = onnx.load(report.folder / "model.onnx")
    properties = {item.key: item.value for item in proto.metadata_props}
    assert json.loads(properties["hwnas.class_names"])[:2] == ["0", "1"]
    assert json.loads(properties["hwnas.input"])["layout"] == "NCHW"


@pytest.mark.slow
def test_a_file_is_timed_or_the_reason_why_not_is_kept(
    ship_onnx: Callable[..., ExportReport], tmp_path: Path
) -> None:
    report = ship_onnx(tmp_path / "out", measure=True)
    known = json.loads((tmp_path / "out" / "metadata.json").read_text())["latency"]
    assert report.latencies.keys() ^ report.not_measured.keys() == {"model.onnx"}
    assert known["files"].keys() == report.latencies.keys()
    assert known["not_measured"] == report.not_measured


def test_retrained_weights_are_shipped_where_asked_for(
    ship_onnx: Callable[..., ExportReport],
    trained: tuple[RunResults, Setting],
    tmp_path: Path,
) -> None:
    results, setting = trained
    with pytest.raises(UserError, match="run nas retrain first"):
        ship_onnx(tmp_path / "out", retrained=True)
    found = retrain(results, results.front[0], epochs=1, setting=setting)
    report = ship_onnx(tmp_path / "out", retrained=True)
    assert report.checks.test_accuracy == pytest.approx(found.test_accuracy, abs=1e-7)
    assert report.validation_accuracy == found.validation_accuracy
    data = json.loads((report.folder / "metadata.json").read_text())
    assert data["weights"]["from"] == "retraining"


def test_data_that_has_changed_since_the_search_is_refused(tmp_path: Path) -> None:
    results, setting = make_trained_run(tmp_path)
    data = json.loads(results.run.data_file.read_text())
    data["fingerprints"]["test"] = "0" * 64
    results.run.data_file.write_text(json.dumps(data))
    with pytest.raises(UserError, match="the test images differ from those that the search saw"):
        export_network(results, results.front[0], tmp_path / "out", setting=setting)


def test_a_network_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=1)
    with pytest.raises(UserError, match="was not trained"):
        export_network(results, results.trials[0], tmp_path / "out")


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="unknown format 'tflite'; known formats: onnx, tvm, torch"
    ):
        get_formats(["onnx", "tflite"])
    with pytest.raises(UserError, match="at least one format"):
        get_formats([])


def test_a_missing_c_compiler_is_told_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="linked by a C compiler, found none"):
        check_compiler({"PATH": str(tmp_path)})
    with pytest.raises(UserError, match=r"found none \(my-cc\)"):
        check_compiler({"PATH": str(tmp_path), "CC": "my-cc -O2"})


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """``predict.py`` with what lies beside it in an exported folder."""
    folder: Path = tmp_path_factory.mktemp("example")
    for package, name in (("nas.export", "predict.py"), ("nas.data", "picture.py")):
        (folder / name).write_text((files(package) / name).read_text())
    path = folder / "predict.py"
    spec = importlib.util.spec_from_file_location("predict_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield module


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [12, 20, 32])
def test_the_example_prepares_images_as_training_does(
    example: ModuleType,
    trained: tuple[RunResults, Setting],
    tmp_path: Path,
    channels: int,
    resolution: int,
) -> None:
    _, setting = trained
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 20, 20, channels), np.uint8)
    test = setting.splits.test
    data = ImageData("image", pixels, test.labels[:1], test.class_names)
    normalization = Normalization((0.4,) * channels, (0.3,) * channels)
    shape = (channels, resolution, resolution)
    wanted = place_split(data, normalization).inputs(slice(None), shape)[0].numpy()
    path = tmp_path / "image.png"
    Image.fromarray(pixels[0, ..., 0] if channels == 1 else pixels[0]).save(path)
    given: dict[str, object] = {"image_shape": [channels, 20, 20], "shape": list(shape)}
    given |= {"fit": "squash", "background": "white"}
    statistics = {"mean": list(normalization.mean), "std": list(normalization.std)}
    found = example.read_image(str(path), given | statistics)
    assert found.shape == shape
    assert np.abs(found - wanted).max() < 1e-4


def odd_pictures(folder: Path) -> list[Path]:
    """Pictures that a plain reader gets wrong: turned, transparent, 16-bit, wide, of a palette."""
    folder.mkdir(parents=True)
    turn = Image.Exif()
    turn[0x0112] = 6
    picture(1, (30, 20)).save(folder / "turned.jpg", exif=turn)
    clear = picture(2, (24, 24), "RGBA")
    clear.putalpha(picture(3, (24, 24), "L"))
    clear.save(folder / "transparent.png")
    clear.convert("P").save(folder / "palette.png", transparency=7)
    deep = np.asarray(picture(4, (9, 24), "L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "wide.png")
    picture(5, (40, 40)).convert("CMYK").save(folder / "printed.jpg")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_the_example_reads_odd_pictures_as_training_does(
    example: ModuleType, tmp_path: Path, channels: int, fit: str
) -> None:
    paths = odd_pictures(tmp_path / "data" / "a")
    odd_pictures(tmp_path / "data" / "b")
    settings = {"channels": channels, "resolution": (16, 16), "fit": fit, "background": "teal"}
    data = load(make_source("folder", path=str(tmp_path / "data"), **settings)).data
    normalization = Normalization((0.4,) * channels, (0.3,) * channels)
    wanted = place_split(data, normalization).inputs(slice(None), (channels, 16, 16)).numpy()
    given = {"image_shape": [channels, 16, 16], "shape": [channels, 16, 16], **settings}
    given |= {"mean": list(normalization.mean), "std": list(normalization.std)}

    found = np.stack([example.read_image(str(path), given) for path in paths])

    assert np.abs(found - wanted[: len(paths)]).max() < 1e-6
    assert found.std() > 0.1
