"""Lowering: a trained float32 network at fewer bits, layer by layer, and what that costs.

A plan says the precision of each layer that is lowered. Quantizing takes all of it, sensitivity
one layer of it at a time; where accuracy may fall by so much and no more, the layers that lose
most alone are raised, one after another, to 8 bits and then to float32.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.calibration import observe, quantize_after_training, quantized_maps
from nas.nn.observers import Numbers
from nas.training.accuracy import accuracy
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.precision import FP32, W8A8, Precision
from search_spaces.quantization.reprecision import layers, uniform_plan, with_precision

Plan = Mapping[str, Precision]


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One row of the table.

    Attributes:
        precision: What the layer took: of a depthwise one, the nearest that has a kernel.
        accuracy: With this layer alone lowered, in 0..1.
        drop: What the float32 network has more.
    """

    layer: str
    precision: Precision
    accuracy: float
    drop: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How steps are found.

    Attributes:
        images: Network inputs ``(N, C, H, W)``; see ``nas.nn.calibration.calibrate``.
        method: An observer's name.
        per_channel: A step for each output channel of the weights; else one a layer.
        split: What accuracies are of.
    """

    images: Tensor
    method: str
    per_channel: bool
    split: TensorSplit

    def lowered(
        self, graph: Graph, model: Model, maps: Mapping[str, Numbers] | None = None
    ) -> Model:
        return quantize_after_training(
            graph, model, self.images, self.method, per_channel=self.per_channel, maps=maps
        )


def plan_of(graph: Graph, precision: Precision, exceptions: Mapping[str, Precision]) -> Plan:
    """Returns what each layer is to have: ``precision`` throughout the body, but for exceptions.

    Args:
        exceptions: Precisions by names of layers, or patterns of names (``stage1.*``); of two
            that fit, the last counts.

    Raises:
        UserError: If one fits no layer.
    """
    plan = dict(uniform_plan(graph, precision))
    for pattern, other in exceptions.items():
        found = [name for name in layers(graph) if fnmatchcase(name, pattern)]
        if not found:
            raise UserError(
                f"no layer is called {pattern!r}; the layers are {', '.join(layers(graph))}"
            )
        plan |= dict.fromkeys(found, other)
    return plan


def sensitivities(
    model: Model, plan: Plan, calibration: Calibration
) -> tuple[LayerSensitivity, ...]:
    """Returns a row for each layer that a plan lowers, in the order of the network.

    Raises:
        UserError: As ``with_precision`` and ``calibrate`` do.
    """
    whole = with_precision(model.graph, plan)
    lowered = [name for name in layers(whole) if taken(whole, name) != FP32]
    graphs = {name: with_precision(model.graph, {name: plan[name]}) for name in lowered}
    wanted = {name: None for graph in graphs.values() for name in quantized_maps(graph)}
    maps = observe(model, calibration.images, wanted)
    before = accuracy(model, calibration.split)
    rows = []
    for name, graph in graphs.items():
        found = accuracy(calibration.lowered(graph, model, maps), calibration.split)
        rows.append(LayerSensitivity(name, taken(graph, name), found, before - found))
    return tuple(rows)


def taken(graph: Graph, name: str) -> Precision:
    """Returns the precision that a layer has in a graph."""
    operator = graph.node(name).operator
    assert isinstance(operator, Conv2d | Linear)
    return operator.precision


def within_drop(
    model: Model, plan: Plan, calibration: Calibration, max_drop: float
) -> tuple[Plan, Model, float]:
    """Returns the plan with as few layers raised as it takes, its model and its accuracy.

    Args:
        max_drop: What accuracy may fall by, as a share of the images.
    """
    least = accuracy(model, calibration.split) - max_drop
    for tried in raised(model, plan, calibration):
        lowered = calibration.lowered(with_precision(model.graph, tried), model)
        found = accuracy(lowered, calibration.split)
        if found >= least:
            return tried, lowered, found
    raise AssertionError("the float32 network, which comes last, loses nothing")


def raised(model: Model, plan: Plan, calibration: Calibration) -> Iterator[Plan]:
    """Yields a plan, and then with ever more layers at 8 bits, and at float32."""
    yield plan
    rows = sorted(sensitivities(model, plan, calibration), key=lambda row: -row.drop)
    for higher in (W8A8, FP32):
        for row in rows:
            if plan[row.layer] not in (higher, FP32):
                plan = {**plan, row.layer: higher}
                yield plan
