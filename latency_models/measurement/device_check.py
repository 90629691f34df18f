"""Checking a device: can it be reached, does its compiler make the code it should, is it quiet."""

from dataclasses import dataclass

import numpy as np

from latency_models.boards.timing import TimingPlan
from latency_models.devices.device import Device, Runtime
from latency_models.devices.latency import Latency
from latency_models.measurement.backends import random_input
from latency_models.measurement.measurer import Measurer
from latency_models.onnx.model import onnx_model
from latency_models.onnx.parity import check_parity
from latency_models.onnx.session import open_session, run_session
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What a check found out.

    Attributes:
        cpu: The processor, as well as it is known.
        target: The exact CPU that code is compiled for; "" where the runtime chooses by itself.
        instruction_sets: What that code may use.
        latency: Of a small network, under the conditions of every measurement.
        difference: How far its output is from ONNX Runtime's, as `parity` counts it.
    """

    device: Device
    runtime: Runtime
    cpu: str
    target: str
    instruction_sets: tuple[str, ...]
    latency: Latency
    difference: float

    @property
    def noise(self) -> float:
        """Spread over median of the small network's time."""
        return self.latency.spread_ms / self.latency.median_ms


def check_device(device: Device, plan: TimingPlan | None = None) -> DeviceReport:
    """Returns what a small network meets on ``device``: compiled, run, compared and timed.

    Raises:
        UserError: If the device's CPU is unknown or not this machine's, or its code is not for
            that CPU.
        ParityError: If the network computes something else there.
        MeasurementError: If it crashed there, or the machine is too busy.
    """
    model = random_model(small_network(), np.random.default_rng(0))
    x = random_input(model.graph.input_shape)
    reference = run_session(open_session(onnx_model(model).SerializeToString()), x)
    with Measurer(device, plan=plan) as measurer:
        runtime = measurer.runtime
        measurer.check_code(model)
        report = check_parity(reference, {runtime: measurer.logits(model, x)})
        return DeviceReport(
            device=device,
            runtime=runtime,
            cpu=measurer.worker.cpu,
            target=measurer.worker.target,
            instruction_sets=measurer.worker.instruction_sets,
            latency=measurer.latency(model),
            difference=report.differences[runtime],
        )


def small_network() -> Graph:
    """A strided, a depthwise and two pointwise convolutions: what mobile networks are made of."""
    net = GraphBuilder((3, 64, 64))
    x = net.add("stem", Conv2d(32, (3, 3), stride=(2, 2)), net.input)
    x = net.add("depthwise", Conv2d(32, (3, 3), groups=32), x)
    x = net.add("expand", Conv2d(128), x)
    x = net.add("project", Conv2d(64, activation="none"), x)
    net.add("classifier", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()
