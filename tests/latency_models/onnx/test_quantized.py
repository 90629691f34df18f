"""Low-bit networks in ONNX: the integer oracle's numbers, from operators of the standard."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from latency_models.onnx.model import onnx_model, written
from latency_models.onnx.parity import ROUNDED_BIASES
from latency_models.onnx.session import open_session, run_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import (
    Activate,
    ChannelSplit,
    Conv2d,
    GlobalAvgPool,
    Linear,
    Quantize,
)
from search_spaces.graphs.precision import PRECISIONS, Precision
from search_spaces.networks import get_network
from search_spaces.quantization.reprecision import uniform
from tests import integer_oracle
from tests.latency_models.parts.cases import LOW_BIT, block_graphs, precision_graphs
from tests.latency_models.parts.int8 import may_saturate

FORMS = precision_graphs()
BLOCKS = {
    f"{precision}-{name}": graph
    for precision in LOW_BIT.values()
    for name, graph in block_graphs(size=6, precision=precision).items()
}
GRAPHS = [
    pytest.param(
        graph, id=name, marks=[pytest.mark.needs_exact_int8] if may_saturate(graph) else []
    )
    for name, graph in (FORMS | BLOCKS).items()
]
W8A8 = PRECISIONS["w8a8"]
EXACT_ACTIVATIONS = ("none", "relu", "relu6")  # others have a product whose rounding is free


def deployed(graph: Graph, seed: int = 0) -> Model:
    return fold_batch_norm(random_model(graph, np.random.default_rng(seed)))


def inputs(graph: Graph, batch: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(batch, *graph.input_shape)).astype(np.float32)


def run(model: Model, x: NDArray[np.float32], *, exact: bool = False) -> NDArray[np.float32]:
    """What ONNX Runtime makes of the model's file, (B, C, H, W)."""
    found = run_session(open_session(onnx_model(model, exact=exact).SerializeToString()), x)
    return found.reshape(len(x), *model.graph.output.shape)


def with_rounded_biases(model: Model) -> Model:
    """The model with the biases that its file has."""
    file = written(model)
    arrays = dict(model.arrays)
    for name in file.moved_codes:
        bias, unit = (
            numpy_helper.to_array(file.arrays[f"{name}.{part}"]).astype(np.float64)
            for part in ("bias", "bias.scale")
        )
        arrays[f"{name}.bias"] = (bias * unit).astype(np.float32)
    return Model(model.graph, arrays)


def optimised(model: Model, folder: Path) -> list[onnx.NodeProto]:
    """The nodes that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    content = onnx_model(model).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(onnx.load(folder / "optimised.onnx").graph.node)


def kinds(nodes: list[onnx.NodeProto]) -> Counter[str]:
    return Counter(node.op_type for node in nodes)


def properties(model: Model) -> Mapping[str, str]:
    return {row.key: row.value for row in onnx_model(model).metadata_props}


def relative(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    return float(np.abs(got - want).max() / max(1, np.abs(want).max()))


@pytest.mark.sweep(4)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_file_gives_the_numbers_of_its_integers(graph: Graph) -> None:
    model, x = deployed(graph), inputs(graph)

    got = run(model, x)

    want = integer_oracle.output(with_rounded_biases(model), x)
    assert relative(got, want) <= 1e-5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.needs_exact_int8] if name == "w8a8" else [])
        for name in LOW_BIT
        if name != "bwn"
    ],
)
def test_layers_of_integers_give_every_bit_of_the_kernels(name: str) -> None:
    forms = [form for form in FORMS if form.startswith(f"{name}-") and form.endswith("-signed")]
    rectified = [form for form in forms if activation_of(FORMS[form]) in EXACT_ACTIVATIONS]
    for form in rectified:
        model, x = deployed(FORMS[form]), inputs(FORMS[form])

        got = run(model, x)

        want = integer_oracle.output(model, x)
        # The mean of the magnitude map is one of real numbers, which have no order of adding.
        limit = 1e-6 if name == "xnor_k" else 0
        assert relative(got, want) <= limit, form
    assert len(rectified) >= 4


def activation_of(graph: Graph) -> str:
    activation: str = graph.output.operator.activation  # type: ignore[attr-defined]
    return activation


def quantized_conv(operator: Conv2d, made: Quantize, channels: int = 24, size: int = 24) -> Graph:
    net = GraphBuilder((channels, size, size))
    y = net.add("conv", operator, net.add("read", Quantize(8, signed=True), net.input))
    net.add("made", made, y)
    return net.graph()


@pytest.mark.needs_exact_int8
@pytest.mark.parametrize(
    ("activation", "signed"), [("none", True), ("relu", False), ("relu6", False)]
)
def test_rounded_biases_move_as_many_codes_as_the_file_says(
    activation: Activation, signed: bool
) -> None:
    moved, said = [], []
    for seed in range(3):
        operator = Conv2d(48, activation=activation, precision=W8A8)
        model = deployed(quantized_conv(operator, Quantize(8, signed)), seed)
        x = inputs(model.graph)

        codes = run(model, x) / model.arrays["made.step"]

        want = integer_oracle.run(model, x)["made"]
        assert isinstance(want, integer_oracle.Codes)
        assert np.abs(codes - want.codes).max() <= 1.01
        between = (want.codes > want.codes.min()) & (want.codes < want.codes.max())
        moved.append((np.rint(codes) != want.codes)[between].mean())
        said.append(written(model).moved_codes["conv"])
    assert 0 < np.mean(said) <= ROUNDED_BIASES
    assert np.mean(moved) == pytest.approx(np.mean(said), rel=0.25)


def test_a_file_may_keep_all_biases() -> None:
    model = deployed(chain(W8A8))
    x = inputs(model.graph)

    got = run(model, x, exact=True)

    assert relative(got, integer_oracle.output(model, x)) <= 1e-6
    assert relative(run(model, x), got) > 1e-5


@pytest.mark.parametrize("name", [name for name, graph in FORMS.items() if may_saturate(graph)])
def test_the_sums_of_an_exact_file_saturate_on_no_processor(name: str) -> None:
    model, x = deployed(FORMS[name]), inputs(FORMS[name])

    assert relative(run(model, x, exact=True), integer_oracle.output(model, x)) <= 1e-5


@pytest.mark.parametrize("name", ["xnor", "w2a2", "w1a2", "bwn", "w4a8", "w8a8"])
def test_openvino_gives_the_numbers_of_an_exact_file(name: str) -> None:
    openvino = pytest.importorskip("openvino")
    model = deployed(uniform(get_network("lenet5")(), PRECISIONS[name]))
    content, x = onnx_model(model, exact=True).SerializeToString(), inputs(model.graph)

    core = openvino.Core()
    plain = {"INFERENCE_PRECISION_HINT": "f32"}
    got = core.compile_model(core.read_model(content, b""), "CPU", plain)(x)[0]

    assert relative(got, run(model, x, exact=True)[..., 0, 0]) <= 1e-5


def test_weights_of_few_bits_are_taken_apart_by_operators_that_runtimes_agree_on() -> None:
    nodes = onnx_model(deployed(uniform(get_network("lenet5")(), PRECISIONS["w2a2"]))).graph.node

    assert not {"BitShift", "BitwiseAnd"} & kinds(list(nodes)).keys()


def test_biases_are_not_rounded_where_that_would_move_too_many_codes() -> None:
    graph = quantized_conv(Conv2d(48, precision=W8A8), Quantize(8))
    model = deployed(graph)
    fine = {"conv.weight.step": model.arrays["conv.weight.step"] * np.float32(30)}
    coarse = Model(model.graph, {**model.arrays, **fine})
    x = inputs(graph)

    assert written(model).moved_codes
    assert not written(coarse).moved_codes
    assert relative(run(coarse, x), integer_oracle.output(coarse, x)) <= 1e-5


@pytest.mark.parametrize("gain", [-1.0, 0.0, 1e-30, -1e-12])
def test_factors_of_a_norm_may_be_negative_or_vanish(gain: float) -> None:
    model = deployed(quantized_conv(Conv2d(6, (3, 3), precision=W8A8), Quantize(8), 5, 6))
    gains = model.arrays["conv.gain"].copy()
    gains[::2] = gain
    changed = Model(model.graph, {**model.arrays, "conv.gain": gains})
    x = inputs(model.graph)

    got = run(changed, x)

    want = integer_oracle.output(with_rounded_biases(changed), x)
    assert relative(got, want) <= 1e-5
    assert bool(written(changed).moved_codes) == (gain == -1)


def chain(precision: Precision, *, activation: Activation = "relu", layers: int = 3) -> Graph:
    """Convolutions of one precision between real ends, with padding."""
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(32), net.input)
    for number in range(layers):
        operator = Conv2d(32, (3, 3), activation=activation, precision=precision)
        x = net.add(f"conv{number}", operator, x)
    net.add("logits", Linear(4), net.add("mean", GlobalAvgPool(), x))
    return net.graph()


def test_8_bit_convolutions_run_as_kernels_of_integers(tmp_path: Path) -> None:
    nodes = optimised(deployed(chain(W8A8)), tmp_path)

    found = kinds(nodes)
    assert found["QLinearConv"] == 3  # the mean reads codes as well
    assert found["ConvInteger"] == 0
    assert found["Conv"] == 1  # the stem


@pytest.mark.parametrize("activation", ["none", "relu6"])
def test_activations_that_limit_a_map_stay_in_the_kernel(
    activation: Activation, tmp_path: Path
) -> None:
    found = kinds(optimised(deployed(chain(W8A8, activation=activation)), tmp_path))

    assert found["QLinearConv"] == 3


@pytest.mark.parametrize("name", ["w4a8", "w4a4", "w2a2", "w1a2", "xnor", "xnor_k"])
def test_convolutions_of_fewer_bits_are_computed_as_8(name: str, tmp_path: Path) -> None:
    nodes = optimised(deployed(chain(PRECISIONS[name])), tmp_path)

    found = kinds(nodes)
    assert found["ConvInteger"] == 3
    assert found["QLinearConv"] == 0
    # Taking weights apart is done when the file is loaded.
    assert not found.keys() & {"BitShift", "BitwiseAnd", "Unsqueeze"}


@pytest.mark.parametrize("name", ["w8a8", "w4a8", "w2a2", "xnor"])
def test_linear_layers_multiply_integers(name: str, tmp_path: Path) -> None:
    net = GraphBuilder((37, 1, 1))
    x = net.add("a", Linear(20, activation="relu", precision=PRECISIONS[name]), net.input)
    net.add("b", Linear(5, precision=PRECISIONS[name]), x)
    model, images = deployed(net.graph()), inputs(net.graph())

    assert kinds(optimised(model, tmp_path))["MatMulInteger"] == 2
    assert np.array_equal(run(model, images), integer_oracle.output(model, images))


@pytest.mark.parametrize("name", ["fp32", "bwn"])
def test_real_layers_between_codes_stay_real(name: str, tmp_path: Path) -> None:
    """ONNX Runtime would quantize their weights as it likes."""
    net = GraphBuilder((8, 6, 6))
    codes = net.add("q", Quantize(8, signed=True), net.input)
    half = net.add("half", ChannelSplit(0, 5), codes)
    real = net.add("real", Conv2d(7, (3, 3), precision=PRECISIONS[name]), half)
    net.add("made", Quantize(8), real)
    model, x = deployed(net.graph()), inputs(net.graph())

    assert kinds(optimised(model, tmp_path)).keys().isdisjoint({"QLinearConv", "ConvInteger"})
    assert relative(run(model, x), integer_oracle.output(model, x)) <= 1e-5


def test_codes_of_codes_keep_both_grids() -> None:
    """ONNX Runtime merges two quantizers in a row into one of its own."""
    net = GraphBuilder((4, 6, 6))
    first = net.add("first", Quantize(8, signed=True), net.input)
    net.add("relu", Activate("relu"), net.add("second", Quantize(8, signed=True), first))
    steps = {"first.step": np.array(0.3, np.float32), "second.step": np.array(0.5, np.float32)}
    model, x = Model(net.graph(), steps), inputs(net.graph())

    assert relative(run(model, x), integer_oracle.output(model, x)) <= 1e-6


@pytest.mark.parametrize("name", LOW_BIT)
def test_weights_take_as_many_bits_in_the_file_as_they_have(name: str) -> None:
    net = GraphBuilder((64, 1, 1))
    net.add("layer", Conv2d(512, activation="none", precision=PRECISIONS[name]), net.input)

    size = len(onnx_model(deployed(net.graph())).SerializeToString())

    weights = 64 * 512 * PRECISIONS[name].weight_bits / 8
    others = 2 * 4 * 512 + 5000  # scale and bias of each channel, nodes, names
    assert weights < size <= weights + others


def test_only_files_with_weights_of_4_bits_need_the_newer_opset() -> None:
    for name, precision in LOW_BIT.items():
        (opset,) = onnx_model(deployed(chain(precision, layers=1))).opset_import
        assert opset.version == (21 if precision.weight_bits == 4 else 18), name


def test_operators_are_those_of_the_standard() -> None:
    for graph in FORMS.values():
        assert {node.domain for node in onnx_model(deployed(graph)).graph.node} == {""}


def test_a_file_says_what_its_precisions_bring() -> None:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(32), net.input)
    x = net.add("a", Conv2d(32, precision=W8A8), x)
    x = net.add("b", Conv2d(32, groups=32, activation="hardswish", precision=W8A8), x)
    x = net.add("c", Conv2d(32, precision=PRECISIONS["w4a8"]), x)
    x = net.add("d", Conv2d(32, precision=PRECISIONS["bwn"]), x)
    net.add("logits", Linear(4), net.add("mean", GlobalAvgPool(), x))
    model = deployed(net.graph())

    said = {
        name: json.loads(text)
        for name, text in properties(model).items()
        if name not in ("hwnas.version", "hwnas.input_shape")
    }

    assert said["hwnas.precisions"] == {
        "stem": "fp32", "a": "w8a8", "b": "w8a8", "c": "w4a8", "d": "bwn", "logits": "fp32"
    }  # fmt: skip
    assert said["hwnas.storage_only"] == ["b", "c", "d"]
    assert said["hwnas.computed_as"] == {
        "stem": "float32", "a": "int8", "b": "float32", "c": "int8", "d": "float32",
        "logits": "float32",
    }  # fmt: skip
    assert said["hwnas.moved_codes"].keys() == {"a"}
    assert 0 < said["hwnas.moved_codes"]["a"] < ROUNDED_BIASES


def test_a_real_network_says_nothing_of_precisions() -> None:
    assert properties(deployed(chain(PRECISIONS["fp32"]))).keys() == {
        "hwnas.version",
        "hwnas.input_shape",
    }


def test_the_batch_is_free() -> None:
    for name in ("w8a8", "w4a4", "xnor_k"):
        model = deployed(chain(PRECISIONS[name]))
        x = inputs(model.graph, 3)

        alone = np.concatenate([run(model, row[None]) for row in x])

        assert relative(run(model, x), alone) <= 1e-6


def test_a_step_that_vanishes_is_refused() -> None:
    model = deployed(chain(W8A8))
    broken = {"conv0.weight.step": np.zeros(32, np.float32)}

    with pytest.raises(UserError, match=r"conv0\.weight\.step must be a positive number"):
        onnx_model(Model(model.graph, {**model.arrays, **broken}))


def test_a_sum_that_could_overflow_is_refused() -> None:
    net = GraphBuilder((67000, 1, 1))
    net.add("low", Linear(1, precision=W8A8), net.input)
    model = deployed(net.graph())

    with pytest.raises(UserError, match="low: its integer sums must stay within"):
        onnx_model(model)
