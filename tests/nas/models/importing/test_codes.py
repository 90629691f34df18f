"""8-bit QDQ files: what our grids hold becomes coded layers, what they do not is one line."""

from typing import Any

import numpy as np
import pytest

from latency_models.onnx.drafts.draft import UnreadableError
from nas.models.importing.flow import import_proto
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import MistakesError
from search_spaces.graphs.precision import W8A8
from tests.latency_models.parts.onnx_text import onnx_file, word

BODY = """
q = QuantizeLinear(x, xs, xz) d = DequantizeLinear(q, xs, xz)
wd = DequantizeLinear<axis = 0>(w, ws, wz)
c = Conv<pads = [1, 1, 1, 1]>(d, wd, b) r = Relu(c)
q2 = QuantizeLinear(r, rs, rz) d2 = DequantizeLinear(q2, rs, rz)
p = GlobalAveragePool(d2) y = Flatten(p)
"""
CODES = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)


def given(**changed: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        **{"xs": 0.03, "xz": np.array(0, np.int8), "rs": 0.05, "rz": np.array(0, np.uint8)},
        **{"w": CODES, "ws": np.array([0.01, 0.02, 0.03, 0.005]), "b": (4,)},
        "wz": np.zeros(4, np.int8),
        **changed,
    }


def test_a_convolution_of_codes_is_a_coded_layer_between_quantizers() -> None:
    model = import_proto(onnx_file(BODY, **given())).model

    convolution = next(node for node in model.graph.nodes if isinstance(node.operator, ops.Conv2d))
    assert isinstance(convolution.operator, ops.Conv2d)
    assert (convolution.operator.precision, convolution.operator.norm) == (W8A8, "folded")
    assert convolution.operator.activation == "relu"
    quantizers = [n.operator for n in model.graph.nodes if isinstance(n.operator, ops.Quantize)]
    assert quantizers == [ops.Quantize(8, signed=True), ops.Quantize(8)]
    step = model.arrays[f"{convolution.name}.weight.step"]
    codes = model.arrays[f"{convolution.name}.weight"] / step.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(np.rint(codes), CODES)


def test_codes_around_another_zero_are_one_line() -> None:
    with pytest.raises(UnreadableError, match=r"uint8 codes around 114.*symmetric"):
        import_proto(onnx_file(BODY, **given(xz=np.array(114, np.uint8))))


def test_weights_beyond_our_grid_are_computed_in_float32_and_it_is_said() -> None:
    low = CODES.copy()
    low[0, 0, 0, 0] = -128
    found = import_proto(onnx_file(BODY, **given(w=low)))

    operators = [node.operator for node in found.model.graph.nodes]
    assert all(op.precision != W8A8 for op in operators if isinstance(op, ops.Conv2d))
    assert "they reach 128, and 127 is held here: it is float32" in found.notes[0]


def test_weights_alone_as_codes_are_float32() -> None:
    body = "wd = DequantizeLinear<axis = 0>(w, ws, wz) y = Conv(x, wd)"
    arrays = {name: value for name, value in given().items() if name in ("w", "ws", "wz")}

    found = import_proto(onnx_file(body, **arrays))

    assert [word(node) for node in found.model.graph.nodes] == ["Conv2d"]


def test_a_linear_layer_of_codes_is_coded() -> None:
    body = """
    q = QuantizeLinear(x, xs, xz) d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear<axis = 0>(w, ws, wz)
    f = Flatten(d) y = Gemm<transB = 1>(f, wd, b)
    """
    codes = np.random.default_rng(0).integers(-127, 128, (4, 192)).astype(np.int8)
    arrays = given(w=codes)
    found = import_proto(
        onnx_file(body, **{k: v for k, v in arrays.items() if k not in ("rs", "rz")})
    )

    (last,) = (n for n in found.model.graph.nodes if isinstance(n.operator, ops.Linear))
    assert isinstance(last.operator, ops.Linear)
    assert last.operator.precision == W8A8


def test_codes_that_two_layers_read_are_held_against_the_file() -> None:
    body = """
    q = QuantizeLinear(x, xs, xz) d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear<axis = 0>(w, ws, wz)
    c = Conv<pads = [1, 1, 1, 1]>(d, wd, b) r = Relu(c)
    q2 = QuantizeLinear(r, rs, rz) d2 = DequantizeLinear(q2, rs, rz)
    left = Conv(d2, v) right = Relu(d2)
    sum = Add(left, right) p = GlobalAveragePool(sum) y = Flatten(p)
    """
    found = import_proto(onnx_file(body, **given(v=(4, 4, 1, 1))))

    kinds = [word(node) for node in found.model.graph.nodes]
    assert kinds.count("Quantize") == 2
    assert "Add" in kinds


def test_a_softmax_that_is_quantized_too_is_left_out_with_its_quantizer() -> None:
    body = (
        BODY.replace("y = Flatten(p)", "f = Flatten(p) s = Softmax(f)")
        + """
    q3 = QuantizeLinear(s, rs, rz) y = DequantizeLinear(q3, rs, rz)
    """
    )
    found = import_proto(onnx_file(body, **given()))

    assert sum(word(node) == "Quantize" for node in found.model.graph.nodes) == 2
    assert any("outputs are logits" in note for note in found.notes)


def test_an_activation_quantized_in_pieces_says_what_to_import_instead() -> None:
    body = """
    q = QuantizeLinear(x, xs, xz) d = DequantizeLinear(q, xs, xz)
    h = HardSigmoid(d) q2 = QuantizeLinear(h, rs, rz) d2 = DequantizeLinear(q2, rs, rz)
    m = Mul(d, d2) p = GlobalAveragePool(m) y = Flatten(p)
    """
    arrays = {name: value for name, value in given().items() if name[0] in "xr"}
    with pytest.raises(MistakesError, match=r"Mul.*\n.*import the float32 file and run `nas qu"):
        import_proto(onnx_file(body, **arrays))
