"""``nas import``: an ONNX file becomes a model folder, or one line says why not."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from nas.models.folder import read_model
from tests.latency_models.parts.onnx_text import onnx_file
from tests.nas.parts.command_line import nas

BODY = "c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) "
BODY += "g = Gemm<transB = 1>(f, v, b) y = Softmax(g)"
WEIGHTS: dict[str, Any] = {"w": (8, 3, 3, 3), "v": (5, 8), "b": (5,)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(onnx_file(BODY, **WEIGHTS), path)
    return path


def test_a_file_becomes_a_folder_and_says_what_it_is(file: Path, tmp_path: Path) -> None:
    said = nas("import", "small.onnx", "--to", "small", "--name", "mine", at=tmp_path)

    assert "mine imported to small" in said
    assert "3 x 8 x 8" in said
    assert "Softmax 'y' at the end is left out" in said
    stored = read_model(tmp_path / "small")
    assert (stored.name, stored.num_classes) == ("mine", 5)
    assert stored.source["file"] == "small.onnx"
    assert "conv2d" in nas("show", "small", at=tmp_path)


def test_what_is_no_onnx_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"hello" * 50)
    said = nas("import", "bad.onnx", "--to", "bad", at=tmp_path, code=2)

    assert said.count("\n") == 1
    assert "bad.onnx is not ONNX, or was cut off" in said
    assert not (tmp_path / "bad").exists()


def test_a_checkpoint_of_torch_is_refused_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    said = nas("import", "net.pth", "--to", "net", at=tmp_path, code=2)

    assert "can run any code" in said
    assert "nas.import_torch(module" in said


def test_an_input_shape_that_is_none_is_refused(file: Path, tmp_path: Path) -> None:
    for text, rule in (
        ("3,a", "must read as 3,224,224"),
        ("3,4", "three sizes"),
        ("3,9,9", "does not fit the file"),
    ):
        words = ("import", "small.onnx", "--to", "small", "--input-shape", text)

        assert rule in nas(*words, at=tmp_path, code=2)


def test_what_no_file_holds_is_kept_where_it_is_given(file: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\nhen\nowl\npig\n")
    words = ("import", "small.onnx", "--to", "small", "--classes", "names.txt")
    nas(*words, "--mean", "0.5,0.4,0.3", "--std", "0.2,0.2,0.1", at=tmp_path)
    stored = read_model(tmp_path / "small")

    assert stored.class_names == ("cat", "dog", "hen", "owl", "pig")
    assert (stored.input.mean, stored.input.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--mean", "0.5,x,0.3", "--std", "1,1,1"), "a number a channel"),
        (("--mean", "0.5,0.4,0.3"), "both be given"),
        (("--mean", "0.5", "--std", "1"), "a number for each of its 3 channels"),
        (("--mean", "1,1,1", "--std", "1,0,1"), "std"),
        (("--classes", "a,b"), "needs as many class names, got 2"),
        (("--classes", "a,b,c,d,a"), "must differ"),
    ],
)
def test_what_is_given_wrongly_is_one_line_and_writes_nothing(
    words: tuple[str, ...], rule: str, file: Path, tmp_path: Path
) -> None:
    said = nas("import", "small.onnx", "--to", "small", *words, at=tmp_path, code=2)

    assert rule in said
    assert said.count("\n") == 1
    assert not (tmp_path / "small").exists()


def test_a_file_whose_norms_are_folded_is_told(file: Path, tmp_path: Path) -> None:
    assert "optimize=False" in nas("import", "small.onnx", "--to", "small", at=tmp_path)
