"""Sensitivity: what a trained network loses where a single layer is lowered to few bits."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from nas.accuracy import accuracy
from nas.calibration import observe, quantize_after_training, quantized_maps
from nas.data.tensors import TensorSplit
from search_spaces.model import Model
from search_spaces.precision import Precision
from search_spaces.reprecision import layers, with_precision


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


def sensitivities(
    model: Model,
    split: TensorSplit,
    images: Tensor,
    precision: Precision,
    method: str = "l2",
    *,
    per_channel: bool = True,
    only: Sequence[str] | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Returns a row for each convolution and linear layer of a float32 network, in order.

    Args:
        split: What the accuracy is of.
        images: To calibrate on, as network inputs; see ``calibrate``.
        only: Names of the layers to try; None tries all.

    Raises:
        UserError: As ``with_precision`` and ``calibrate`` do.
    """
    names = layers(model.graph) if only is None else only
    graphs = {name: with_precision(model.graph, {name: precision}) for name in names}
    wanted = {name: None for graph in graphs.values() for name in quantized_maps(graph)}
    maps = observe(model, images, wanted)
    before = accuracy(model, split)
    rows = []
    for name, graph in graphs.items():
        lowered = quantize_after_training(
            graph, model, images, method, per_channel=per_channel, maps=maps
        )
        found = accuracy(lowered, split)
        taken = graph.node(name).operator.precision  # type: ignore[attr-defined]
        rows.append(LayerSensitivity(name, taken, found, before - found))
    return tuple(rows)
