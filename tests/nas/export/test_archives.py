"""Exports as archives: the smallest file, the same network, read again before it is kept."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_models.onnx.parity import ParityError
from nas.export.formats import FORMATS, USUAL_FORMATS, Shipment
from nas.export.network import network_of_model
from nas.export.verify import environment
from nas.export.write import ExportReport, ship
from nas.models.archives.archive import archive_bytes, read_archive
from nas.models.archives.info import archive_info
from nas.models.folder import StoredModel, fingerprint
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.precision import get_precision
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from tests.nas.parts.command_line import nas
from tests.nas.parts.models import small_folder, small_graph, small_model


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    to = tmp_path_factory.mktemp("archives") / "out"
    return ship(network_of_model(small_model()), to, ["archive"], measure=False)


def test_the_archive_holds_the_network_as_trained_and_nothing_is_folded_into_it(
    shipped: ExportReport,
) -> None:
    found = read_archive(shipped.folder / "model.hwz")

    assert fingerprint(found.model) == fingerprint(small_model().model)
    assert found.class_names == small_model().class_names
    assert found.input == small_model().input
    assert shipped.checks.parity.differences["model.hwz"] < 1e-6


def test_its_size_and_what_it_is_stand_in_readme_and_metadata(shipped: ExportReport) -> None:
    size = (shipped.folder / "model.hwz").stat().st_size
    text = (shipped.folder / "README.md").read_text()
    ratio = archive_info(shipped.folder / "model.hwz").ratio

    assert shipped.sizes == {"model.hwz": size}
    assert f"| `model.hwz` | {size:,} | not measured |" in text
    assert f"takes {ratio:.1f} times less than its weights in float32" in text
    assert "python predict.py --runtime archive photo.png" in text
    assert "model.hwz" in json.loads((shipped.folder / "metadata.json").read_text())["files"]


def run_predict(folder: Path, *words: str, first: Path | None = None) -> tuple[int, str]:
    """Runs ``predict.py``; packages are looked for in ``first`` before all else."""
    seen = environment()
    if first is not None:
        seen["PYTHONPATH"] = f"{first}:{seen['PYTHONPATH']}"
    command = [sys.executable, str(folder / "predict.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=seen)
    return done.returncode, done.stdout + done.stderr


def test_predict_runs_the_archive(shipped: ExportReport, tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "in.npy", inputs)
    out = tmp_path / "out.npy"

    code, said = run_predict(
        shipped.folder, str(tmp_path / "in.npy"), "--logits", str(out), "--runtime", "archive"
    )

    assert code == 0, said
    assert np.load(out).shape == (3, 10)


def test_where_hwnas_is_missing_predict_says_so_in_a_line(
    shipped: ExportReport, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()  # found before ours, and as if there were none
    missing = "raise ModuleNotFoundError('none', name='nas')"
    (tmp_path / "others/nas.py").write_text(missing)
    np.save(tmp_path / "in.npy", np.zeros((1, 1, 8, 8), np.float32))

    code, said = run_predict(
        *(shipped.folder, str(tmp_path / "in.npy"), "--logits", str(tmp_path / "out.npy")),
        first=tmp_path / "others",
    )

    assert code == 1
    assert said == ("error: archive needs hwnas, which is not installed; README.md says how\n")


def test_an_archive_that_was_changed_since_is_not_run(
    shipped: ExportReport, tmp_path: Path
) -> None:
    shutil.copytree(shipped.folder, tmp_path / "copy")
    with (tmp_path / "copy/model.hwz").open("r+b") as file:
        file.truncate(100)
    np.save(tmp_path / "in.npy", np.zeros((1, 1, 8, 8), np.float32))

    code, said = run_predict(
        tmp_path / "copy", str(tmp_path / "in.npy"), "--logits", str(tmp_path / "o.npy")
    )

    assert code == 1
    assert "model.hwz is not the file that was exported" in said


@pytest.mark.parametrize("entropy", ["ans", "huffman"])
def test_the_coder_is_ones_to_choose(entropy: str, tmp_path: Path) -> None:
    small_folder(tmp_path / "m")
    words = ("--formats", "archive", "--no-measure", "--entropy", entropy)

    said = nas("export", "m", *words, "--to", "out", at=tmp_path)

    stored = network_of_model(small_model()).stored
    assert (tmp_path / "out/model.hwz").read_bytes() == archive_bytes(stored, entropy)  # type: ignore[arg-type]
    assert f"{(tmp_path / 'out/model.hwz').stat().st_size:,}" in said


@pytest.mark.sweep(3)
@pytest.mark.parametrize("precision", ["w8a8", "w4a4", "xnor", "bwn"])
def test_low_bit_networks_are_archived_bit_for_bit(precision: str, tmp_path: Path) -> None:
    graph = uniform(small_graph(), get_precision(precision))
    model = snap_weights(random_model(graph, np.random.default_rng(0)))
    known = small_model()
    stored = StoredModel("small", model, known.input, known.class_names, {"from": "test"})

    report = ship(network_of_model(stored), tmp_path / "out", ["archive"], measure=False)

    found = read_archive(report.folder / "model.hwz").model
    assert fingerprint(found) == fingerprint(model)
    assert found.graph == graph


def test_an_archive_that_computes_something_else_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FORMATS["archive"]

    def write_wrong(shipment: Shipment, folder: Path) -> None:
        given = shipment.trained
        arrays = {name: array * np.float32(1.01) for name, array in given.model.arrays.items()}
        wrong = Model(given.model.graph, arrays)
        stored = StoredModel(given.name, wrong, given.input, given.class_names, given.source)
        (folder / "model.hwz").write_bytes(archive_bytes(stored))

    monkeypatch.setitem(FORMATS, "archive", replace(right, write=write_wrong))
    with pytest.raises(ParityError, match=r"model\.hwz differs"):
        ship(network_of_model(small_model()), tmp_path / "out", ["archive"], measure=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_archive_is_exported_again_as_every_other_model(
    shipped: ExportReport, tmp_path: Path
) -> None:
    archive = shipped.folder / "model.hwz"
    words = ("--formats", "archive,torch", "--no-measure", "--to", "out")

    said = nas("export", str(archive), *words, at=tmp_path)

    assert "small exported to out" in said
    again = read_archive(tmp_path / "out/model.hwz")
    assert fingerprint(again.model) == fingerprint(small_model().model)


def test_nobody_gets_an_archive_who_asks_for_no_formats() -> None:
    assert set(FORMATS) - set(USUAL_FORMATS) == {"archive"}


def test_a_coder_that_is_unknown_is_one_line(tmp_path: Path) -> None:
    small_folder(tmp_path / "m")

    said = nas(
        *("export", "m", "--formats", "archive", "--entropy", "zip", "--to", "out"),
        *("--no-measure",),
        at=tmp_path,
        code=2,
    )

    assert "zip" in said
    with pytest.raises(UserError, match="unknown format 'hwz'"):
        ship(network_of_model(small_model()), tmp_path / "out", ["hwz"], measure=False)
