"""Low-bit networks: what they compute, and that training makes them learn and leaves codes."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplit, TensorSplits, place
from nas.evaluation.evaluator import CANDIDATES_FAULT
from nas.nn.calibration import calibrate
from nas.nn.interpreter import Interpreter, from_model, model_arrays, to_model
from nas.nn.memory import training_bytes
from nas.nn.quantized_layers import NoRangeError
from nas.problem.training_config import TrainingConfig
from nas.training.accuracy import accuracy, logits
from nas.training.loop import TrainingResult, calibration_images, train
from nas.training.loss import distance
from nas.training.recipe.optimizer import SIGN_RATE, make_optimizers, set_learning_rate
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Add, Conv2d, GlobalAvgPool, Linear, Magnitude, Quantize
from search_spaces.graphs.precision import FP32, PRECISIONS, Precision
from search_spaces.quantization.codes import (
    is_coded,
    output_scale,
    snap_weights,
    weight_codes,
    weight_limits,
)
from search_spaces.quantization.reprecision import full_precision, uniform
from tests import integer_oracle
from tests.latency_models.parts.cases import low_bit_branches, low_bit_residual

LOW_BIT = {name: p for name, p in PRECISIONS.items() if p != FP32}
EVERY_PRECISION = pytest.mark.parametrize("precision", LOW_BIT.values(), ids=LOW_BIT.keys())
QUICK = TrainingConfig(epochs=8, batch_size=16, device="cpu")
F = np.float32
Map = NDArray[np.float32]


@pytest.fixture(scope="module")
def digits() -> TensorSplits:
    return place(split(load(make_source("digits")).data, seed=0))


@pytest.fixture(scope="module")
def few(digits: TensorSplits) -> TensorSplits:
    """160 training images, 96 to validate."""
    return replace(digits, train=first(digits.train, 160), validation=first(digits.validation, 96))


def first(part: TensorSplit, number: int) -> TensorSplit:
    return part.take(slice(number))


def small_net(precision: Precision, width: int = 16) -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3)), net.input)
    y = net.add("first", Conv2d(width, (3, 3), activation="none"), x)
    x = net.add("sum", Add("relu"), x, y)
    x = net.add("second", Conv2d(2 * width, (3, 3), stride=(2, 2)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("logits", Linear(10), x)
    return uniform(net.graph(), precision)


def one_layer(operator: Conv2d | Linear, channels: int, *, signed: bool = True) -> Graph:
    net = GraphBuilder((channels, 6, 5))
    x = net.input if signed else net.add("before", Conv2d(channels), net.input)
    net.add("low", operator, x)
    return net.graph()


# What a deployed layer computes, written down from its meaning alone.


def codes_by_hand(op: Quantize, arrays: dict[str, Map], name: str, x: Map) -> Map:
    if op.bits == 1:
        t = x * arrays[f"{name}.gain"][:, None, None] + arrays[f"{name}.bias"][:, None, None]
        return np.where(t >= 0, F(1), F(-1))
    inverse = F(1 / np.float64(arrays[f"{name}.step"]))
    return np.clip(np.rint(x * inverse), op.lowest, op.highest)


def sums_by_hand(op: Conv2d, codes: NDArray[np.float64], weight: NDArray[np.float64]) -> Map:
    outside = -1.0 if op.precision.activation_bits == 1 else 0.0
    (kh, kw), (sh, sw), (ph, pw) = op.kernel_size, op.stride, op.pads
    padded = np.pad(codes, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), (2, 3))[:, :, ::sh, ::sw]
    return np.einsum("bchwij,ocij->bohw", windows, weight).astype(F)


def activated_by_hand(name: Activation, v: Map) -> Map:
    gate = np.clip(v * F(1 / 6) + F(0.5), F(0), F(1))
    forms: dict[Activation, Map] = {
        "none": v,
        "relu": np.maximum(v, F(0)),
        "relu6": np.clip(v, F(0), F(6)),
        "hardsigmoid": gate,
        "hardswish": v * gate,
    }
    return forms[name]


def layer_by_hand(model: Model, x: Map) -> Map:
    """The node ``low`` of a deployed model of one layer that reads the input."""
    graph, arrays = model.graph, dict(model.arrays)
    op = graph.node("low").operator
    assert isinstance(op, Conv2d)
    codes = x
    quantizer = graph.node("low").inputs[0]
    if quantizer != INPUT:
        kind = graph.node(quantizer).operator
        assert isinstance(kind, Quantize)
        codes = codes_by_hand(kind, arrays, quantizer, x)
    weight, _ = weight_codes(model, graph.node("low"))
    v = sums_by_hand(op, codes.astype(np.float64), weight.astype(np.float64))
    v = v * output_scale(model, graph.node("low"))[:, None, None]
    if op.precision.magnitude_map:
        (kh, kw), (sh, sw), (ph, pw) = op.kernel_size, op.stride, op.pads
        mean = np.abs(x.astype(np.float64)).mean(1)
        padded = np.pad(mean, ((0, 0), (ph, ph), (pw, pw)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), (1, 2))[:, ::sh, ::sw]
        v = v * windows.mean((3, 4))[:, None].astype(F)
    v = v + arrays["low.bias"][:, None, None]
    return activated_by_hand(op.activation, v)


FORMS = {
    "1x1": Conv2d(7),
    "3x3": Conv2d(7, (3, 3), activation="hardswish"),
    "strided": Conv2d(7, (3, 3), stride=(2, 2), activation="none"),
    "5x1_biased": Conv2d(5, (5, 1), norm="none", bias=True, activation="relu6"),
    "hardsigmoid": Conv2d(3, (1, 3), activation="hardsigmoid"),
}


@EVERY_PRECISION
@pytest.mark.parametrize("form", FORMS)
def test_a_deployed_layer_computes_what_its_codes_say(precision: Precision, form: str) -> None:
    graph = one_layer(replace(FORMS[form], precision=precision), channels=35)
    deployed = fold_batch_norm(random_model(graph, np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(0, 1, (3, 35, 6, 5)).astype(F)

    with torch.inference_mode():
        got = from_model(deployed)(torch.from_numpy(x)).numpy()

    expected = layer_by_hand(deployed, x)
    if precision.activations == "real" or precision.magnitude_map:
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-5)  # sums of real numbers
    else:
        assert np.array_equal(got, expected)


@pytest.mark.sweep(4)
@EVERY_PRECISION
@pytest.mark.parametrize("build", [low_bit_residual, low_bit_branches])
def test_a_deployed_network_gives_the_oracles_codes(precision: Precision, build: object) -> None:
    assert callable(build)
    deployed = fold_batch_norm(random_model(build(precision), np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(0, 1, (2, *deployed.graph.input_shape)).astype(F)

    with torch.inference_mode():
        got = from_model(deployed).run(torch.from_numpy(x), keep_maps=True)

    for name, found in integer_oracle.run(deployed, x).items():
        expected, ours = integer_oracle.real(found), got[name].numpy()
        ours = ours.reshape(expected.shape)
        if isinstance(found, integer_oracle.Codes):
            apart = np.abs(ours - expected) > found.step / 2
            assert apart.mean() <= 1e-3, name
            assert np.abs(ours - expected).max() <= 1.5 * found.step * (1 + (found.bits == 1))
        else:
            assert ours == pytest.approx(expected, rel=1e-4, abs=1e-4), name


@EVERY_PRECISION
def test_folding_leaves_outputs_as_they_were(precision: Precision) -> None:
    model = random_model(small_net(precision), np.random.default_rng(3))
    x = torch.randn(4, 1, 8, 8)

    with torch.inference_mode():
        trained = from_model(model)(x)
        deployed = from_model(fold_batch_norm(model))(x)

    assert deployed.numpy() == pytest.approx(trained.numpy(), rel=1e-3, abs=1e-3)


@EVERY_PRECISION
def test_every_array_of_a_low_bit_network_gets_a_gradient(precision: Precision) -> None:
    module = Interpreter(small_net(precision)).train()

    torch.autograd.backward(module(torch.randn(8, 1, 8, 8)).square().mean())

    assert [name for name, p in module.named_parameters() if p.grad is None] == []
    assert all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)


@pytest.mark.sweep(3)
@EVERY_PRECISION
def test_every_precision_learns_and_leaves_legal_codes(
    precision: Precision, few: TensorSplits
) -> None:
    result = train(small_net(precision), few, QUICK)

    assert result.train_loss[-1] < 0.75 * result.train_loss[0]
    model = result.model
    for node in model.graph.nodes:
        if is_coded(node):
            check_on_grid(model, node)
    assert result.accuracy == accuracy(model, few.validation)
    snapped = snap_weights(model)
    assert all(np.array_equal(snapped.arrays[n], model.arrays[n]) for n in model.arrays)
    deployed = logits(fold_batch_norm(model), few.validation)
    same = (deployed.argmax(1) == logits(model, few.validation).argmax(1)).float().mean()
    assert same >= 0.97


def check_on_grid(model: Model, node: Node) -> None:
    """Every weight is a legal code times the scale of its channel, and steps are positive."""
    operator = node.operator
    assert isinstance(operator, Conv2d | Linear)
    weight = model.arrays[f"{node.name}.weight"].astype(np.float64)
    rows = weight.reshape(len(weight), -1)
    if operator.precision.weights == "sign":
        magnitude = np.abs(rows).max(1, keepdims=True)
        assert np.array_equal(np.abs(rows), np.broadcast_to(magnitude, rows.shape))
        return
    step = model.arrays[f"{node.name}.weight.step"].astype(np.float64)
    assert step.min() > 0
    codes = rows / step[:, None]
    low, high = weight_limits(operator.precision.weight_bits)
    assert codes == pytest.approx(np.rint(codes), abs=1e-4)
    assert low <= np.rint(codes).min() <= np.rint(codes).max() <= high


def test_the_first_step_of_weights_is_that_of_the_paper() -> None:
    for name, highest in (("w8a8", 127), ("w4a4", 7), ("w2a2", 1)):
        arrays = model_arrays(Interpreter(small_net(PRECISIONS[name])))
        mean = np.abs(arrays["second.weight"]).reshape(32, -1).mean(1)
        expected = 2 * mean / highest**0.5
        assert arrays["second.weight.step"] == pytest.approx(expected, rel=1e-5)


def test_weights_that_start_small_have_steps_to_grow_into() -> None:
    arrays = model_arrays(Interpreter(small_net(PRECISIONS["w8a8"])))

    usual = (2 / np.pi) ** 0.5 * (1 / 32) ** 0.5  # mean magnitude at the usual deviation
    assert arrays["logits.weight.step"] == pytest.approx(2 * usual / 127**0.5, rel=1e-5)


def test_the_first_batch_tells_the_steps_of_maps() -> None:
    graph = one_layer(Conv2d(4, precision=PRECISIONS["w4a4"]), channels=3)
    module = Interpreter(graph).train()
    x = torch.randn(5, 3, 6, 5)

    module(x)
    module(10 * x)  # changes nothing more

    step = module.below("input.q4")["step"].item()
    assert step == pytest.approx(2 * float(x.abs().mean()) / 7**0.5)


def test_given_steps_stay_as_they_are() -> None:
    model = random_model(small_net(PRECISIONS["w4a4"]), np.random.default_rng(0))
    module = from_model(model).train()

    module(torch.randn(5, 1, 8, 8))

    arrays = model_arrays(module)
    assert all(arrays[n] == model.arrays[n] for n in arrays if n.endswith("q4.step"))


def test_a_step_that_nothing_has_told_is_not_used() -> None:
    module = Interpreter(small_net(PRECISIONS["w8a8"])).eval()

    with pytest.raises(UserError, match=r"input\.q8: the step of a quantizer must be known"):
        module(torch.randn(1, 1, 8, 8))
    with pytest.raises(UserError, match=r"q8\.step must be a positive number"):
        from_model(to_model(module))


def test_a_copy_of_a_module_knows_what_the_first_did() -> None:
    module = Interpreter(small_net(PRECISIONS["w8a8"])).train()
    module(torch.randn(4, 1, 8, 8))

    copied = deepcopy(module).eval()
    x = torch.randn(2, 1, 8, 8)

    assert torch.equal(copied(x), module.eval()(x))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_map_without_a_range_is_refused_by_name(value: float) -> None:
    module = Interpreter(small_net(PRECISIONS["w8a8"])).train()

    with pytest.raises(NoRangeError, match=r"input\.q8: the map to quantize must have a range"):
        module(torch.full((4, 1, 8, 8), value))
    assert NoRangeError in CANDIDATES_FAULT


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 30.0), ("sgd", 1e6)])
def test_steps_stay_positive_at_any_rate(optimizer: str, rate: float) -> None:
    module = Interpreter(small_net(PRECISIONS["w4a4"])).train()
    config = TrainingConfig(optimizer=optimizer, learning_rate=rate)  # type: ignore[arg-type]
    (rule,) = make_optimizers(module, config)
    set_learning_rate([rule], rate)
    steps = {name: p for name, p in module.named_parameters() if name.endswith("step")}
    torch.autograd.backward(module(torch.randn(8, 1, 8, 8)).square().sum())
    before = {name: p.detach().clone() for name, p in steps.items()}

    rule.step()

    ratios = torch.cat([(p.detach() / before[name]).flatten() for name, p in steps.items()])
    assert 0.499 < float(ratios.min()) < 1 < float(ratios.max()) < 2.001


def test_a_step_is_multiplied_by_what_would_be_added() -> None:
    for optimizer, factor in (("adamw", np.exp(-0.01)), ("sgd", np.exp(-0.01 * 3 / 0.5))):
        module = Interpreter(small_net(PRECISIONS["w4a4"]))
        config = TrainingConfig(
            optimizer=optimizer,  # type: ignore[arg-type]
            learning_rate=0.01,
            momentum=0.0,
        )
        (rule,) = make_optimizers(module, config)
        for name, parameter in module.named_parameters():
            if name.endswith("step"):
                parameter.data.fill_(0.5)
                parameter.grad = torch.full_like(parameter, 3.0)

        rule.step()

        steps = [p for name, p in module.named_parameters() if name.endswith("step")]
        assert len(steps) == 10
        for step in steps:
            assert step.detach().numpy() == pytest.approx(0.5 * factor, rel=1e-5)


def test_steps_and_weights_behind_signs_are_not_decayed() -> None:
    module = Interpreter(small_net(PRECISIONS["xnor"]))
    (rule,) = make_optimizers(module, TrainingConfig(weight_decay=0.3))
    names = {id(parameter): name for name, parameter in module.named_parameters()}

    rows = {names[id(p)]: group for group in rule.param_groups for p in group["params"]}

    assert {n for n, group in rows.items() if group["weight_decay"]} == {
        "stem.weight",
        "logits.weight",
    }
    assert rows["first.weight"]["rate_share"] == SIGN_RATE
    assert rows["stem.weight"]["rate_share"] == rows["stem.weight.step"]["rate_share"] == 1


def test_the_magnitude_map_passes_no_gradient() -> None:
    net = GraphBuilder((3, 2, 2))
    net.add("mean", Magnitude(), net.input)
    x = torch.randn(2, 3, 2, 2, requires_grad=True)

    y = from_model(Model(net.graph(), {}))(x)

    assert not y.requires_grad
    assert y.numpy() == pytest.approx(x.detach().abs().mean(1, keepdim=True).numpy())


@pytest.fixture
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.usefixtures("autocast")
@pytest.mark.parametrize(("bits", "signed"), [*product((1, 2, 4, 8), (False, True))])
def test_quantizers_are_float32_under_autocast(bits: int, signed: bool) -> None:
    net = GraphBuilder((4, 3, 3))
    operator = Quantize(bits, signed) if bits > 1 else Quantize(1, norm="batch")
    net.add("q", operator, net.input)
    module = from_model(random_model(net.graph(), np.random.default_rng(0)))
    x = torch.randn(2, 4, 3, 3)

    with torch.no_grad():
        inside = module(x)
        with torch.autocast("cpu", enabled=False):
            outside = module(x)

    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert module(x.bfloat16()).dtype == torch.float32


@pytest.mark.usefixtures("autocast")
@pytest.mark.parametrize("name", ["w8a8", "w4a4", "w2a2", "w1a2", "xnor", "bwn"])
def test_codes_are_multiplied_exactly_under_autocast(name: str) -> None:
    """With one product in each sum, only the result is rounded to 16 bits, no factor is."""
    operator = Conv2d(4, norm="none", activation="none", precision=PRECISIONS[name])
    net = GraphBuilder((1, 8, 8))
    net.add("low", operator, net.input)
    module = from_model(random_model(net.graph(), np.random.default_rng(0)))
    x = torch.randn(2, 1, 8, 8).bfloat16().float()

    with torch.no_grad():
        inside = module(x).float()
        with torch.autocast("cpu", enabled=False):
            outside = module(x)

    assert inside.numpy() == pytest.approx(outside.numpy(), rel=2**-7, abs=1e-6)
    once = 2.0**-8 * outside.abs() * 1.01  # a product of codes, rounded; the scale, rounded
    assert bool(((inside - outside).abs() <= 2 * once + 1e-7).all())


@EVERY_PRECISION
def test_gradients_are_finite_under_autocast(precision: Precision) -> None:
    module = Interpreter(small_net(precision)).train()

    with torch.autocast("cpu", torch.bfloat16):
        y = module(torch.randn(8, 1, 8, 8))
    torch.autograd.backward(y.float().square().mean())

    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_training_bytes_bound_what_a_low_bit_step_really_holds() -> None:
    for name in ("w8a8", "w2a2", "bwn", "xnor"):
        graph = small_net(PRECISIONS[name], width=32)
        module = Interpreter(graph).train()
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            module(torch.randn(64, 1, 8, 8)).sum()

        weights = sum(4 * p.numel() for p in module.parameters())
        held = sum(kept.values()) + 2 * weights  # gradients, and a moment of the optimizer
        assert 0.5 * held < training_bytes(graph, 64) < held, name


# Starting from float32, and learning from a teacher.


@pytest.fixture(scope="module")
def float_result(digits: TensorSplits) -> TrainingResult:
    config = replace(QUICK, epochs=6, batch_size=32)
    return train(full_precision(small_net(FP32)), digits, config)


def test_low_bit_training_starts_where_float32_ended(
    digits: TensorSplits, few: TensorSplits, float_result: TrainingResult
) -> None:
    gentle = replace(QUICK, epochs=1, warmup_epochs=0, learning_rate=1e-5)
    data = replace(few, validation=digits.validation)
    for name, lost in (("w8a8", 0.01), ("w4a4", 0.05)):
        graph = small_net(PRECISIONS[name])
        images = calibration_images(digits.train, graph)
        arrays = calibrate(graph, float_result.model, images).arrays

        started = train(graph, data, gentle, arrays=arrays)

        assert started.accuracy >= float_result.accuracy - lost
    assert train(graph, data, gentle).accuracy < 0.5


def test_epochs_in_float32_come_first_and_are_not_counted(few: TensorSplits) -> None:
    graph = small_net(PRECISIONS["w4a4"])
    config = replace(QUICK, epochs=3, distillation_weight=0.0)

    helped = train(graph, few, replace(config, fp32_epochs=8))

    assert helped.epochs_run == 3
    assert helped.train_loss[-1] < 0.7 * train(graph, few, config).train_loss[-1]


def test_epochs_in_float32_leave_float32_networks_alone(few: TensorSplits) -> None:
    graph = small_net(FP32)

    plain = train(graph, few, replace(QUICK, epochs=1))
    asked = train(graph, few, replace(QUICK, epochs=1, fp32_epochs=5))

    assert plain.train_loss == asked.train_loss


def test_a_student_learns_from_a_teacher_alone(
    few: TensorSplits, float_result: TrainingResult
) -> None:
    wrong = replace(few.train, labels=(few.train.labels + 1) % 10)
    misled = replace(few, train=wrong)
    config = replace(QUICK, epochs=15, distillation_weight=1.0)

    student = train(small_net(PRECISIONS["w4a4"]), misled, config, teacher=float_result.model)

    assert student.accuracy > 0.6
    without = replace(config, distillation_weight=0.0)
    assert train(small_net(FP32), misled, without, teacher=float_result.model).accuracy < 0.2


def test_the_distance_from_a_teacher_is_that_of_the_paper() -> None:
    student = torch.randn(5, 7, requires_grad=True)
    teacher = torch.randn(5, 7)

    torch.autograd.backward(distance(student, teacher, 3.0))

    soft = torch.softmax(student.detach() / 3, 1), torch.softmax(teacher / 3, 1)
    expected = 3.0 * (soft[0] - soft[1]) / 5  # T^2 * 1/T, mean over the batch
    assert student.grad is not None
    assert student.grad.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert float(distance(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_another_shape_is_refused(few: TensorSplits) -> None:
    net = GraphBuilder((1, 16, 16))
    net.add("logits", Linear(10), net.input)
    teacher = random_model(net.graph(), np.random.default_rng(0))

    with pytest.raises(UserError, match=r"input shape \(1, 8, 8\), got \(1, 16, 16\)"):
        train(small_net(FP32), few, QUICK, teacher=teacher)


@pytest.mark.parametrize(
    ("field", "value"),
    [("fp32_epochs", -1), ("distillation_weight", 1.5), ("distillation_temperature", 0.0)],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"training {field} must be .*, got {value}"):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]
