"""Files that cannot be imported: one line each, which names what is wrong and what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from latency_models.onnx.reading import opened
from latency_models.onnx.reading.imported import import_onnx
from search_spaces.graphs.errors import MistakesError, UserError
from tests.latency_models.parts.onnx_text import imported, onnx_file

WEIGHTS: dict[str, Any] = {"w": (5, 192)}


def network() -> ModelProto:
    return onnx_file("f = Flatten(x) y = Gemm<transB = 1>(f, w)", **WEIGHTS)


def newer_opset(proto: ModelProto) -> None:
    proto.opset_import[0].version = 99


def second_input(proto: ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 5)))
    proto.graph.node.append(helper.make_node("Add", ["y", "z"], ["u"]))
    proto.graph.output[0].name = "u"


def second_output(proto: ModelProto) -> None:
    proto.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, None))


def free_size(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def bad_weight(proto: ModelProto) -> None:
    weight = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[1, 2] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))


def text_input(proto: ModelProto) -> None:
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, (1, 128)))


def sound_input(proto: ModelProto) -> None:
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 800)))


def with_node(kind: str, domain: str = "") -> Callable[[ModelProto], None]:
    def change(proto: ModelProto) -> None:
        node = helper.make_node(kind, ["y"], ["u"], name="odd", domain=domain)
        proto.graph.node.append(node)
        proto.graph.output[0].name = "u"

    return change


def huge_constant(proto: ModelProto) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "sizes"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sizes"], ["w2"]))
    proto.graph.node.append(helper.make_node("MatMul", ["y", "w2"], ["u"]))
    proto.graph.output[0].name = "u"


WRONG: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "a newer opset": (newer_opset, "has opset 99, and onnx .* or less, or upgrade onnx"),
    "two inputs": (second_input, r"has 2 that are read \('x', 'z'\)"),
    "two outputs": (second_output, r"this file has 2 \('y', 'f'\).*auxiliary heads"),
    "an open size": (free_size, r"whose size is not fixed; say it.*--input-shape"),
    "a weight that is no number": (bad_weight, "Gemm 'y': 1 of 960 numbers of its weight are nan"),
    "text": (text_input, "holds int64, as sequence networks"),
    "sound": (sound_input, "has 2 axes, as sequence networks"),
    "detection": (with_node("NonMaxSuppression"), "this is a detection network"),
    "a sequence network": (with_node("LSTM"), "this is a sequence network: LSTM 'odd'"),
    "upsampling": (with_node("Resize"), "a network that makes pictures"),
    "an unknown operator": (
        with_node("Mish"),
        "Mish 'odd': there is no such operator here",
    ),
    "an operator of others": (
        with_node("Swish", domain="ai.acme"),
        "ai.acme.Swish 'odd': there is no",
    ),
    "codes of ONNX Runtime": (
        with_node("QLinearAdd", domain="com.microsoft"),
        "com.microsoft.QLinearAdd 'odd'.*quantize with QuantFormat.QDQ",
    ),
    "an optimized file": (
        with_node("FusedConv", domain="com.microsoft"),
        "com.microsoft.FusedConv 'odd'.*the file as it was before ONNX Runtime optimized it",
    ),
    "a class number": (with_node("ArgMax"), "ArgMax 'odd'.*cut the file in front of it"),
    "a constant beyond memory": (huge_constant, "would hold 1099511627776 numbers"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_imported_is_one_line(
    change: Callable[[ModelProto], None], said: str, tmp_path: Path
) -> None:
    proto = network()
    change(proto)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())

    with pytest.raises(UserError, match=said) as caught:
        import_onnx(path)

    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_one_line(share: float, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    whole = network().SerializeToString()
    path.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(UserError, match="is not ONNX, or was cut off"):
        import_onnx(path)


def test_all_operators_that_are_missing_are_told_at_once() -> None:
    body = "a = Mish(x) b = Mish(a) c = Selu(b) d = Softplus(c) y = Relu(d)"

    with pytest.raises(MistakesError) as caught:
        imported(onnx_file(body, opset=20))

    lines = str(caught.value).splitlines()
    assert [re.match(r"\w+", line)[0] for line in lines] == ["Mish", "Selu", "Softplus"]  # type: ignore[index]
    assert "and 1 more" in lines[0]


def outside(path: Path, location: str) -> None:
    """Writes the network with its weights in a file of their own, said to lie elsewhere."""
    proto = network()
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(proto.SerializeToString())


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    outside(tmp_path / "net.onnx", "weights.bin")

    found = import_onnx(tmp_path / "net.onnx")

    weight = numpy_helper.to_array(network().graph.initializer[0])
    np.testing.assert_array_equal(found.model.arrays["y.weight"], weight)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("other.bin", "which is missing; copy it beside the file"),
        ("../weights.bin", "outside the file's folder"),
        ("/etc/passwd", "outside the file's folder"),
        ("link.bin", "outside the file's folder"),
    ],
)
def test_weights_that_are_missing_or_elsewhere_are_one_line(
    location: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(4000))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    outside(folder / "net.onnx", location)

    with pytest.raises(UserError, match=said):
        import_onnx(folder / "net.onnx")


def test_weights_that_end_too_early_are_one_line(tmp_path: Path) -> None:
    outside(tmp_path / "net.onnx", "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(100))

    with pytest.raises(UserError, match="has 100 bytes and ends before the weights 'w' do"):
        import_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_real_numbers_become_float32_and_it_is_said(kind: int) -> None:
    proto = network()
    other = helper.tensor_dtype_to_np_dtype(kind)
    weight = numpy_helper.to_array(proto.graph.initializer[0]).astype(other)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    proto.graph.input[0].type.tensor_type.elem_type = kind
    proto.graph.output[0].type.tensor_type.elem_type = kind

    found = imported(proto)

    assert "they became float32" in found.notes[0]
    np.testing.assert_array_equal(found.model.arrays["y.weight"], weight.astype(np.float32))


def test_names_that_would_break_ours_are_changed() -> None:
    body = "a = Relu(x) b = Relu(a) f = Flatten(b) y = Gemm<transB = 1>(f, w)"
    proto = onnx_file(body, **WEIGHTS)
    names = ("/a/input", "\x1b[31m//b.weight", "f", "input")
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name

    found = [node.name for node in imported(proto).model.graph.nodes]

    assert found == ["a.input_", "_[31m.b.weight_", "input_"]


def test_weights_beyond_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside(tmp_path / "net.onnx", "weights.bin")
    monkeypatch.setattr(opened, "MOST_WEIGHTS", 3839)  # 960 numbers take one byte more

    with pytest.raises(UserError, match=r"has \d+ bytes of weights, and 3839 can be read here"):
        import_onnx(tmp_path / "net.onnx")
