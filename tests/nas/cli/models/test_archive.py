"""``nas archive``, and archives where other commands take a folder; or one line says why not."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.models.archives.archive import write_archive
from nas.models.archives.info import archive_info
from nas.models.folder import ModelInput, StoredModel, fingerprint, read_model
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import GlobalAvgPool
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.command_line import nas
from tests.nas.parts.models import small_folder, small_graph, small_model

LAYERS = ("stem.weight", "body.weight", "classifier.weight")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with archives, a damaged one, what is none, and data for them."""
    place = tmp_path_factory.mktemp("archives")
    write_archive(place / "m.hwz", small_model())
    write_archive(place / "paper.hwz", small_model(), "huffman")
    write_archive(place / "unknown.hwz", small_model(class_names=None, input=ModelInput()))
    shutil.copy(place / "m.hwz", place / "renamed.bin")
    (place / "cut.hwz").write_bytes((place / "m.hwz").read_bytes()[:-20])
    (place / "text.hwz").write_text("no archive\n")
    (place / "net.onnx").write_bytes(b"\x08\x07")
    (place / "data.yaml").write_text("data: {kind: digits, train: 60, validation: 60, test: 60}\n")
    return place


def test_every_array_is_shown_with_what_it_keeps_and_takes(made: Path) -> None:
    said = nas("archive", "info", "m.hwz", at=made)

    size = (made / "m.hwz").stat().st_size
    assert all(name in said for name in LAYERS)
    assert f"{size:,}" in said
    assert f"{archive_info(made / 'm.hwz').ratio:.1f}x" in said


def test_a_network_without_weights_is_shown_too(tmp_path: Path) -> None:
    graph = Graph((3, 8, 8), (Node("pool", GlobalAvgPool(), (INPUT,), (3, 1, 1)),))
    stored = StoredModel("pool", Model(graph, {}), ModelInput(), None, {})
    write_archive(tmp_path / "p.hwz", stored)

    assert "0.0x" in nas("archive", "info", "p.hwz", at=tmp_path)


@pytest.mark.parametrize("file", ["m.hwz", "paper.hwz", "renamed.bin"])
def test_programs_read_the_same_numbers(file: str, made: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    data = json.loads(nas("archive", "info", file, "--json", "--csv", str(table), at=made))

    graph = small_graph()
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == [row["name"] for row in data["arrays"]]
    assert {row["name"] for row in rows} == set(graph.array_shapes())
    assert data["total_bytes"] == (made / file).stat().st_size
    weights = {row["name"]: int(row["weights"]) for row in rows}
    assert weights == {name: int(np.prod(s)) for name, s in graph.array_shapes().items()}
    assert sum(int(row["size_bytes"]) for row in rows) + data["head_bytes"] == data["total_bytes"]


def test_an_archive_is_unpacked_to_the_folder_it_was_made_of(made: Path, tmp_path: Path) -> None:
    said = nas("archive", "unpack", "m.hwz", "--to", str(tmp_path / "m"), at=made)

    found = read_model(tmp_path / "m")
    assert f"small unpacked to {tmp_path}/m" in said
    assert fingerprint(found.model) == fingerprint(small_model().model)
    assert found.source == small_model().source
    assert found.input == small_model().input


def test_an_archive_is_shown_like_a_folder(made: Path, tmp_path: Path) -> None:
    small_folder(tmp_path / "m")
    said = nas("show", "m.hwz", "--no-times", at=made)

    assert f"small {graph_hash(small_graph())}" in said
    assert said == nas("show", str(tmp_path / "m"), "--no-times", at=made)
    assert said == nas("show", "renamed.bin", "--no-times", at=made)


@pytest.mark.slow
def test_an_archive_is_exported_quantized_and_its_layers_told_apart(
    made: Path, tmp_path: Path
) -> None:
    words = ("unknown.hwz", "--data", "data.yaml")
    to = ("--no-measure", "--formats", "onnx,archive", "--to", str(tmp_path / "out"))

    said = nas("quantize", *words, "--images", "40", *to, at=made)

    assert "small at w8a8 exported" in said
    assert (tmp_path / "out/model.hwz").exists()
    assert "body" in nas("sensitivity", *words, "--images", "40", at=made)
    again = ("--formats", "archive", "--no-measure", "--to", str(tmp_path / "again"))
    nas("export", str(tmp_path / "out/model.hwz"), *again, at=made)
    sizes = [(tmp_path / each / "model.hwz").stat().st_size for each in ("out", "again")]
    assert abs(sizes[0] - sizes[1]) < 300  # the head says where it came from


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("archive", "info", "cut.hwz"), "cut.hwz"),
        (("archive", "info", "text.hwz"), "text.hwz"),
        (("archive", "info", "gone.hwz"), "gone.hwz"),
        (("archive", "info", "net.onnx"), "net.onnx"),
        (("archive", "unpack", "cut.hwz"), "cut.hwz"),
        (("archive", "unpack", "net.onnx"), "net.onnx"),
        (("archive", "unpack", "."), "cannot read archive .: Is a directory"),
        (("show", "cut.hwz", "--no-times"), "cut.hwz"),
        (("show", "text.hwz", "--no-times"), "text.hwz"),
        (("export", "cut.hwz"), "cut.hwz"),
        (("export", "text.hwz"), "text.hwz"),
        (("export", "m.hwz", "--pick", "best"), "m.hwz is one model; --pick"),
        (("export", "net.onnx"), "net.onnx holds no run"),
        (("export", "gone.hwz"), "gone.hwz"),
        (("sensitivity", "m.hwz"), "m.hwz is a model without images to calibrate on"),
        (("compress", "cut.hwz", "r.yaml"), "cut.hwz"),
        (("compress", "net.onnx", "r.yaml"), "must be a folder or an archive, got another file"),
        (("latency", "measure", "cut.hwz"), "cut.hwz"),
    ],
)
def test_what_is_no_archive_or_a_damaged_one_is_one_line(
    words: tuple[str, ...], told: str, made: Path, tmp_path: Path
) -> None:
    (made / "r.yaml").write_text("{name: r, steps: [archive]}")
    writes = words[0] in ("export", "compress") or words[1] == "unpack"
    to = ("--to", str(tmp_path / "out")) if writes else ()

    said = nas(*words, *to, at=made, code=2)

    assert told in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_holds_something_else_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")

    said = nas("archive", "unpack", "m.hwz", "--to", str(tmp_path), at=made, code=2)

    assert "is there and is no model folder of hwnas" in said
    assert (tmp_path / "mine").read_text() == "mine"
