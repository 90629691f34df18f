"""Profiles of a device that is not there: kernels take what a formula says, networks more."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np

from latency_models.compiler.kernel_text import from_text, to_text
from latency_models.compiler.network_kernels import AnyKernel, network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.device import Runtime
from latency_models.devices.latency import Conditions, Latency
from latency_models.measurement.readings import Reading, append_readings
from latency_models.prediction.features import Description
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.kernel_rows import rows_of
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import ModelName
from latency_models.prediction.onnx_features import describe
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture, sample
from search_spaces.space.staged import Head, Stage, StagedSpace, Stem, block_option

CONDITIONS = Conditions(
    device="formula",
    cpu="a formula",
    runtime="tvm",
    runtime_version="1",
    target="none",
    tuned=False,
    threads=1,
    input_shape=(1, 3, 16, 16),
    precision="fp32",
    runs=10,
    cache="warm",
    reference_ms=1.0,
    drift=1.0,
    date="2026-01-01T00:00:00+00:00",
)
BLOCKS = (
    block_option("plain", {"kernel_size": (1, 3)}),
    block_option("inverted_residual", {"kernel_size": (3,), "expand_ratio": (2, 4)}),
    block_option("shuffle_v2", {"kernel_size": (3,)}),
    block_option("fire"),
)
SPACE = StagedSpace(
    name="small",
    in_channels=3,
    num_classes=10,
    resolutions=(16, 32),
    stem=Stem(widths=(16, 24)),
    stages=(
        Stage((1, 2), (16, 24, 32), (1,), BLOCKS),
        Stage((1, 2), (32, 48), (2,), BLOCKS),
    ),
    head=Head(widths=(0, 64)),
)
OVERHEAD_MS, SHARE = 0.004, 1.1  # of a network beyond its kernels


def draw(rng: Random) -> Graph:
    """A random network of the small space."""
    return sample(SPACE, rng).graph


def graphs(number: int, seed: int) -> list[Graph]:
    return [*drawn(number, seed)]


@cache
def drawn(number: int, seed: int) -> tuple[Graph, ...]:
    rng = Random(seed)
    return tuple(draw(rng) for _ in range(number))


@cache
def kernels_of(graph: Graph, runtime: Runtime) -> tuple[AnyKernel, ...]:
    return tuple(use.kernel for use in network_kernels(graph, runtime, AVX2))


@cache
def described(kernel: AnyKernel) -> tuple[str, Description, float]:
    """A kernel's text, its features, and what it takes; a little is of no formula."""
    text, found = to_text(kernel), describe(kernel, AVX2)
    odd = int(text.encode().hex()[-6:], 16) % 97 / 97
    return text, found, (1e-4 + found.macs / 2e7 + found.moved_bytes / 1e7) * (1 + 0.04 * odd)


def kernel_ms(kernel: AnyKernel, factor: float = 1.0) -> float:
    """What a kernel takes alone, always the same."""
    return factor * described(kernel)[2]


def network_ms(graph: Graph, runtime: Runtime = "tvm", factor: float = 1.0) -> float:
    kernels = kernels_of(graph, runtime)
    return SHARE * sum(kernel_ms(kernel, factor) for kernel in kernels) + OVERHEAD_MS * factor


def text_of(graph: Graph) -> str:
    return json.dumps(to_json(Architecture("", (), graph))["graph"])


def kernel_rows(
    networks: Sequence[Graph],
    conditions: Conditions = CONDITIONS,
    factor: float = 1.0,
    session: str = "one",
) -> list[Reading]:
    """Readings of the distinct kernels of some networks."""
    runtime: Runtime = conditions.runtime  # type: ignore[assignment]
    kernels = dict.fromkeys(kernel for graph in networks for kernel in kernels_of(graph, runtime))
    return [
        Reading(
            described(kernel)[0],
            described(kernel)[1].kind,
            measured(kernel_ms(kernel, factor), conditions),
            "",
            session,
        )
        for kernel in kernels
    ]


def network_rows(
    networks: Sequence[Graph],
    conditions: Conditions = CONDITIONS,
    factor: float = 1.0,
    session: str = "one",
    noise: float = 0.01,
) -> list[Reading]:
    runtime: Runtime = conditions.runtime  # type: ignore[assignment]
    rng = np.random.default_rng(len(networks))
    return [
        Reading(
            text_of(graph),
            "",
            measured(
                network_ms(graph, runtime, factor) * float(np.exp(rng.normal(scale=noise))),
                conditions,
            ),
            "",
            session,
        )
        for graph in networks
    ]


def measured(ms: float, conditions: Conditions = CONDITIONS) -> Latency:
    return Latency(ms, 0.01 * ms, "measured", conditions)


def failed(text: str, session: str = "one") -> Reading:
    return Reading(text, "plain", None, "the worker ended by signal SIGSEGV", session)


def write_profile(
    folder: Path,
    networks: int = 40,
    conditions: Conditions = CONDITIONS,
    factor: float = 1.0,
    session: str = "one",
    seed: int = 0,
) -> Path:
    """Writes two of three kernels of some networks, and a few networks; returns the folder."""
    own = folder / conditions.device
    known = graphs(5 * networks, seed)
    rows = kernel_rows(known, conditions, factor, session)
    append_readings(own, "kernels", 0, some_of(rows))
    append_readings(
        own, "networks", 1, network_rows(known[:networks], conditions, factor, session)
    )
    return own


def some_of(rows: Sequence[Reading]) -> list[Reading]:
    """Two of three, and those at the ends of their kind's sizes."""
    table = rows_of([described(from_text(row.text))[1] for row in rows])
    kept = set(range(0, len(rows), 3)) | set(range(1, len(rows), 3))
    for kind in np.unique(table.kinds):
        own = np.flatnonzero(table.kinds == kind)
        kept |= {*own[table.sizes[own].argmin(0)].tolist()}
        kept |= {*own[table.sizes[own].argmax(0)].tolist()}
    return [rows[index] for index in sorted(kept)]


def at(date: str, **changes: str) -> Conditions:
    """The usual conditions at a later date, and otherwise as told."""
    return replace(CONDITIONS, date=date, **changes)  # type: ignore[arg-type]


def make_model(
    folder: Path, model: ModelName = "learned", conditions: Conditions = CONDITIONS
) -> LatencyModel:
    """Profiles the small space; returns a model of that, which is not saved."""
    write_profile(folder, conditions=conditions)
    return deepcopy(fitted(model, conditions))


@cache
def fitted(model: ModelName, conditions: Conditions) -> LatencyModel:
    with TemporaryDirectory() as folder:
        return fit_latency_model(write_profile(Path(folder), conditions=conditions), AVX2, model)
