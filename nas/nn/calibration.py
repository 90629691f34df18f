"""Calibration: a trained float32 network turned into a low-bit one, from images without labels.

Steps of maps come from what the float32 network makes of the images, steps of weights from the
weights. Batch norms around layers of fewer than 4 bits are measured anew, since such codes change
the mean and the deviation of what they make (Sun et al., "Hybrid 8-bit Floating Point (HFP8)
Training and Inference for Deep Neural Networks", NeurIPS 2019, retune them likewise).

Shape letters: N images, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Iterable, Mapping
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.nn.interpreter import from_model, to_model
from nas.nn.observers import OBSERVERS, Numbers, Observer, l2
from nas.nn.quantized_layers import NoRangeError
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import BatchNorm, Conv2d, Linear, Quantize
from search_spaces.quantization.codes import (
    LEAST_STEP,
    coded_operator,
    is_coded,
    snap_weights,
    weight_limits,
)
from search_spaces.quantization.reprecision import full_precision

BATCH = 32
SAMPLE = 1 << 17  # numbers that are kept of a map
FEW_BITS = 4  # with fewer, norms are measured anew


class CalibrationError(UserError):
    """Images that cannot tell steps."""


def quantize_after_training(
    graph: Graph,
    model: Model,
    images: Tensor,
    method: str = "l2",
    *,
    per_channel: bool = True,
    maps: Mapping[str, Numbers] | None = None,
) -> Model:
    """Returns what ``calibrate`` does, the real numbers behind the codes dropped."""
    return snap_weights(
        calibrate(graph, model, images, method, per_channel=per_channel, maps=maps)
    )


def calibrate(
    graph: Graph,
    model: Model,
    images: Tensor,
    method: str = "l2",
    *,
    per_channel: bool = True,
    maps: Mapping[str, Numbers] | None = None,
) -> Model:
    """Returns the low-bit ``graph`` with the real weights of ``model`` and all steps set.

    Args:
        model: The same network in float32, trained.
        images: Network inputs ``(N, C, H, W)``, normalised; no labels are needed.
        method: An observer's name. Weights of single channels are too few for a divergence: with
            "kl" and ``per_channel`` their steps are those of "l2".
        per_channel: A step for each output channel of the weights; else one a layer.
        maps: What ``observe`` gave for the same model and images, where it is known already.

    Raises:
        UserError: If the method is unknown, or ``model`` is another network.
        CalibrationError: If there are fewer than two images, or they are constant.
        NoRangeError: If a map, or a layer's weights, give no step.
    """
    observer = get_observer(method)
    check_twin(graph, model)
    check_images(images, graph)
    if maps is None:
        maps = observe(model, images, quantized_maps(graph))
    arrays: dict[str, Array] = {}
    for node in graph.nodes:
        for name, shape in node.operator.array_shapes(*graph.input_shapes(node)).items():
            known = model.arrays.get(f"{node.name}.{name}")
            arrays[f"{node.name}.{name}"] = first_array(name, shape) if known is None else known
        if isinstance(node.operator, Quantize) and node.operator.bits > 1:
            step = map_step(node, maps[node.inputs[0]], observer)
            arrays[f"{node.name}.step"] = np.array(step, np.float32)
        elif is_coded(node) and coded_operator(node).precision.weights == "integer":
            weight = arrays[f"{node.name}.weight"]
            chosen = l2 if method == "kl" and per_channel else observer
            arrays[f"{node.name}.weight.step"] = weight_steps(node, weight, chosen, per_channel)
    return with_measured_norms(Model(graph, arrays), images)


def get_observer(method: str) -> Observer:
    """Returns the observer called ``method``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if method not in OBSERVERS:
        known = ", ".join(OBSERVERS)
        raise UserError(f"a calibration method must be one of {known}, got {method!r}")
    return OBSERVERS[method]


def check_twin(graph: Graph, model: Model) -> None:
    twin = full_precision(graph)
    if twin == model.graph:
        return
    ours, theirs = (dict.fromkeys(node.name for node in g.nodes) for g in (twin, model.graph))
    differing = [name for name in {**ours, **theirs} if not same_node(twin, model.graph, name)]
    raise UserError(
        "calibration starts from the same network in float32, got one that differs at "
        f"{differing[0] if differing else 'its input'}; train full_precision(graph)"
    )


def same_node(graph: Graph, other: Graph, name: str) -> bool:
    return all(name in g.shapes for g in (graph, other)) and graph.node(name) == other.node(name)


def check_images(images: Tensor, graph: Graph) -> None:
    if len(images) < 2:
        raise CalibrationError(
            f"calibration needs at least 2 images, got {len(images)}; give some of those that the "
            "network was trained on"
        )
    if tuple(images.shape[1:]) != graph.input_shape:
        raise CalibrationError(
            f"calibration images must be of the network's input shape {graph.input_shape}, got "
            f"{tuple(images.shape[1:])}; resize and normalise them as in training"
        )
    least, largest = float(images.min()), float(images.max())
    if not (least < largest and np.isfinite((least, largest)).all()):
        raise CalibrationError(
            f"calibration images must be finite and not constant, got values from {least:.3g} to "
            f"{largest:.3g}; give some of those that the network was trained on"
        )


def quantized_maps(graph: Graph) -> tuple[str, ...]:
    """Returns the maps that are quantized to two or more bits."""
    quantizers = (
        n for n in graph.nodes if isinstance(n.operator, Quantize) and n.operator.bits > 1
    )
    return tuple(dict.fromkeys(node.inputs[0] for node in quantizers))


def observe(model: Model, images: Tensor, names: Iterable[str]) -> dict[str, Numbers]:
    """Returns numbers of each named map, ``(n,)``: all of them, or a sample and the extremes."""
    module = from_model(model).to(images.device)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    generator = torch.Generator(images.device).manual_seed(0)
    with torch.inference_mode():
        for batch in images.tensor_split(ceil(len(images) / BATCH)):
            maps = module.run(batch, keep_maps=True)
            for name, parts in found.items():
                parts.append(
                    sampled(maps[name].flatten(), SAMPLE * len(batch) // len(images), generator)
                )
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def sampled(numbers: Tensor, size: int, generator: torch.Generator) -> Tensor:
    if len(numbers) <= size:
        return numbers
    rows = torch.randint(len(numbers), (size,), generator=generator, device=numbers.device)
    return torch.cat((numbers[rows], numbers.amin()[None], numbers.amax()[None]))


def map_step(node: Node, numbers: Numbers, observer: Observer) -> float:
    operator = node.operator
    assert isinstance(operator, Quantize)
    if not np.isfinite(numbers).all():
        raise NoRangeError(
            f"{node.name}: the map to quantize must be finite, got NaN or infinite numbers; train "
            "the float32 network again"
        )
    step = float(observer(numbers[None], operator.lowest, operator.highest)[0])
    if step < LEAST_STEP:
        rule = "have a range" if step == 0 else f"give a step of at least {LEAST_STEP:.2g}"
        raise NoRangeError(
            f"{node.name}: the map to quantize must {rule}, got {len(numbers)} numbers from "
            f"{numbers.min():.3g} to {numbers.max():.3g} and a step of {step:.3g}; calibrate on "
            "other images, or keep the layers that read it at fp32"
        )
    return step


def weight_steps(node: Node, weight: Array, observer: Observer, per_channel: bool) -> Array:
    """Returns the step of each output channel ``(O,)``; one of zeros takes the largest."""
    low, high = weight_limits(coded_operator(node).precision.weight_bits)
    rows = weight.reshape(len(weight), -1) if per_channel else weight.reshape(1, -1)
    steps: NDArray[np.float64] = observer(rows, low, high)
    largest = steps.max()
    if not largest >= LEAST_STEP:
        raise NoRangeError(
            f"{node.name}: its weights must give a step of at least {LEAST_STEP:.2g}, got "
            f"{largest:.3g} for weights up to {np.abs(weight).max():.3g}; train the float32 "
            "network again, or keep this layer at fp32"
        )
    steps = np.where(steps < LEAST_STEP, largest, steps)
    return np.broadcast_to(steps, len(weight)).astype(np.float32)


def first_array(name: str, shape: tuple[int, ...]) -> Array:
    """Returns what stands for an array that the float32 network lacks, until it is set."""
    return np.full(shape, name in ("norm.weight", "norm.variance"), np.float32)


def with_measured_norms(model: Model, images: Tensor) -> Model:
    """Returns the model with the statistics of norms around few bits set by the images."""
    few = any(has_few_bits(node) for node in model.graph.nodes)
    names = {node.name for node in model.graph.nodes if is_measured(node, few)}
    if not names:
        return model
    module = from_model(model).to(images.device)
    with torch.no_grad():
        for index, batch in enumerate(images.tensor_split(ceil(len(images) / BATCH))):
            module.norm_momentum = 1 / (index + 1)  # their mean, each batch counting the same
            module.run(batch, measured=names)
    return to_model(module)


def is_measured(node: Node, few: bool) -> bool:
    """Whether a norm meets few bits: its own layer's, or, if it stands alone, any (``few``)."""
    operator = node.operator
    if isinstance(operator, BatchNorm):
        return few and operator.norm == "batch"
    if isinstance(operator, Quantize):
        return operator.norm == "batch"
    return isinstance(operator, Conv2d) and operator.norm == "batch" and has_few_bits(node)


def has_few_bits(node: Node) -> bool:
    operator = node.operator
    if not isinstance(operator, Conv2d | Linear):
        return False
    return min(operator.precision.weight_bits, operator.precision.activation_bits) < FEW_BITS
