"""Profiles of devices that are not there: kernels take what a formula says, networks the sum."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latency_models.compiler.kernel_text import to_text
from latency_models.compiler.network_kernels import AnyKernel, network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.latency import Latency
from latency_models.measurement.readings import Reading, append_readings
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.onnx_features import describe
from search_spaces.graphs.graph import Graph
from search_spaces.networks import get_network
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture
from tests.latency_models.parts.profiles import CONDITIONS

WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0)
RESOLUTIONS = (32, 64)


def mobile(width: float, resolution: int = 32) -> Graph:
    """A network of the kind that `make_profile` times."""
    return get_network("mobilenet_v2")(width=width, resolution=resolution, num_classes=10)


def unlike() -> Graph:
    """A network with kernels that it does not time."""
    return get_network("vgg16")(width=0.25, resolution=32, num_classes=10)


def kernel_ms(kernel: AnyKernel, factor: float) -> float:
    found = describe(kernel, AVX2)
    return factor * (1e-4 + found.macs / 1e7 + found.moved_bytes / 1e7)


def make_profile(
    folder: Path, device: str, factor: float, graphs: Sequence[Graph] | None = None
) -> None:
    """Profiles a device that is ``factor`` times as slow as the formula, and fits its model."""
    graphs = graphs or [mobile(width, size) for width in WIDTHS for size in RESOLUTIONS]
    place = folder / device
    for file in place.glob("*.parquet"):
        file.unlink()
    kernels: dict[AnyKernel, float] = {}
    networks: dict[str, float] = {}
    for graph in graphs:
        uses = [use.kernel for use in network_kernels(graph, "tvm", AVX2)]
        kernels |= {kernel: kernel_ms(kernel, factor) for kernel in uses}
        text = json.dumps(to_json(Architecture("", (), graph))["graph"])
        networks[text] = sum(kernels[kernel] for kernel in uses) + 0.01 * factor
    conditions = replace(CONDITIONS, device=device)

    def reading(text: str, kind: str, ms: float) -> Reading:
        return Reading(text, kind, Latency(ms, 0.01 * ms, "measured", conditions), "", "one")

    rows = [
        reading(to_text(kernel), describe(kernel, AVX2).kind, ms) for kernel, ms in kernels.items()
    ]
    append_readings(place, "kernels", 0, rows)
    append_readings(place, "networks", 0, [reading(text, "", ms) for text, ms in networks.items()])
    fit_latency_model(place, AVX2, "lookup").save(folder)
