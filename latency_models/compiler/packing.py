"""Constants: the numbers of a deployed model as its kernels take them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.schedule import MapKey, Schedule, Work
from latency_models.kernels.epilogue import CodeStep, EpilogueValues, SignNorm, TargetValues
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import BatchNorm, Conv2d, LayerNorm, Linear
from search_spaces.quantization.codes import check_step, output_scale, weight_codes

Array = NDArray[np.float32]


class Constants:
    """Reads the arrays of one deployed model for the works of its graph."""

    def __init__(self, model: Model, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule

    def weights(self, work: Work) -> tuple[NDArray[Any], ...]:
        """Integer codes alone, or real weights and biases."""
        operator = work.operator
        assert isinstance(operator, Conv2d | Linear)
        taps: Any = ()
        if isinstance(operator, Conv2d):
            pairs = zip(work.first_tap, operator.kernel_size, strict=True)
            taps = (..., *(slice(first, first + count) for first, count in pairs))
        if operator.precision.weights != "real":
            return (weight_codes(self.model, self.model.graph.node(work.node))[0][taps],)
        weight = self.model.arrays[f"{work.node}.weight"][taps]
        none = np.zeros(len(weight), np.float32)
        return weight, self.model.arrays.get(f"{work.node}.bias", none)

    def epilogue(self, work: Work, *, scaled: bool) -> EpilogueValues:
        """The numbers of the epilogue of a work."""
        scale = bias = None
        if scaled:
            scale = self.scale(work)
            bias = self.model.arrays[f"{work.node}.bias"]
        residual = None
        if work.residual and self.schedule.maps[work.residual].quantizer:
            residual = self.step(work.residual)
        return EpilogueValues(
            tuple(self.target(name) for name in work.targets), scale, bias, residual
        )

    def scale(self, work: Work) -> Array:
        """What the sums of a coded layer, or the numbers of a norm, are multiplied by."""
        if isinstance(work.operator, BatchNorm | LayerNorm):
            return self.model.arrays[f"{work.node}.gain"]
        return output_scale(self.model, self.model.graph.node(work.node))

    def target(self, name: MapKey) -> TargetValues:
        """What turns real numbers into those of a map."""
        known = self.schedule.maps[name]
        if not known.quantizer:
            return None
        if known.form.bits > 1:
            return CodeStep.of(self.step(name))
        arrays, channels = self.model.arrays, known.shape[0]
        own = slice(known.first_channel, known.first_channel + channels)
        if f"{known.quantizer}.gain" not in arrays:
            return SignNorm(np.ones(channels, np.float32), np.zeros(channels, np.float32))
        gain, bias = (arrays[f"{known.quantizer}.{part}"] for part in ("gain", "bias"))
        return SignNorm(gain[own], bias[own])

    def step(self, name: MapKey) -> float:
        """The step between two codes of a map; signs have none, they are numbers."""
        if self.schedule.maps[name].form.bits == 1:
            return 1.0
        array = f"{self.schedule.maps[name].quantizer}.step"
        step = self.model.arrays[array]
        check_step(array, step)
        return float(np.float32(step))

    def steps(self, names: tuple[MapKey, ...]) -> Array:
        """The step of each map; 1 where it is real."""
        known = [self.schedule.maps[name].quantizer for name in names]
        steps = [self.step(n) if q else 1.0 for n, q in zip(names, known, strict=True)]
        return np.array(steps, np.float32)

    def inverse_step(self, name: MapKey) -> Array:
        return np.array([CodeStep.of(self.step(name)).inverse], np.float32)
