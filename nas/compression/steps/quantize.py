"""Step ``quantize``: fewer bits without training, steps found on images of all classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from nas.compression.stop import Drop
from nas.compression.workbench import LayerNote, Made, Workbench
from nas.export.lowering import Calibration, plan_of, taken, within_drop
from nas.export.quantize import IMAGES, spread
from nas.nn.calibration import get_observer
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.precision import get_precision
from search_spaces.quantization.reprecision import full_precision, layers, with_precision


@dataclass(frozen=True, slots=True)
class Quantization:
    """Post-training quantization, as ``nas quantize`` does it.

    Attributes:
        precision: Of the body; first and last layer keep 8 bits, or float32 where maps are real.
        method: What tells the steps; see `nas.nn.observers`.
        per_channel: A step for each output channel of the weights; else one a layer.
        images: Training images to calibrate on, of all classes.
        layers: Other precisions by layers' names, or patterns of them.
        max_accuracy_drop: The layers that lose most stay at more bits until it holds, against the
            network before the step.
    """

    precision: str = "w8a8"
    method: str = "l2"
    per_channel: bool = True
    images: int = IMAGES
    layers: Mapping[str, str] = field(default_factory=dict)
    max_accuracy_drop: Drop | None = None
    name: ClassVar[str] = "quantize"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in (self.precision, *self.layers.values()):
            get_precision(name)
        get_observer(self.method)
        if self.images < 2:
            raise UserError(f"images must be at least 2, got {self.images}; {IMAGES} are usual")

    def run(self, model: Model, bench: Workbench) -> Made:
        graph = model.graph
        if full_precision(graph) != graph:
            coded = next(name for name in layers(graph) if str(taken(graph, name)) != "fp32")
            raise UserError(
                f"{coded}: quantize starts from a float32 network, this layer has "
                f"{taken(graph, coded)}; quantize once, as the last step but export"
            )
        others = {name: get_precision(other) for name, other in self.layers.items()}
        plan = plan_of(graph, get_precision(self.precision), others)
        if bench.is_rehearsal:  # first weights may give no range
            lowered = random_model(with_precision(graph, plan), np.random.default_rng(0))
            return Made(lowered, f"{self.precision}, to be calibrated on {self.images} images")
        calibration = self.calibration(model, bench)
        if self.max_accuracy_drop is None:
            lowered = calibration.lowered(with_precision(graph, plan), model)
        else:
            plan, lowered, _ = within_drop(model, plan, calibration, self.max_accuracy_drop)
        notes = tuple(LayerNote(name, str(taken(lowered.graph, name))) for name in layers(graph))
        other = sum(note.text != self.precision for note in notes)
        summary = f"{self.precision}, calibrated on {len(calibration.images)} images"
        if other:
            summary += f"; {other} of {len(notes)} layers at another precision"
        figures: dict[str, Any] = {"images": len(calibration.images)}
        return Made(lowered, summary, notes, figures=figures)

    def calibration(self, model: Model, bench: Workbench) -> Calibration:
        train = bench.tensors.train
        rows = torch.from_numpy(spread(train.labels.cpu().numpy(), self.images))
        images = train.inputs(rows.to(train.device), model.graph.input_shape)
        return Calibration(images, self.method, self.per_channel, bench.tensors.validation)
