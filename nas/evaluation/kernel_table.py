"""Kernel table: how long each kernel takes on the run's device, by what it computes.

Equal kernels of different networks are timed once. The table lies in the run folder
(``kernel_table.json``), so that a search that goes on decides as it did before.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from latency_models.measurement.layer_table import rows_of_nodes, times_by_row
from latency_models.measurement.measurer import KernelLatency
from nas.runs.files import read_json, write_json
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.formats import REAL, Formats, only_moves
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import ChannelSplit
from search_spaces.space.architecture import operator_fields

FORMAT = "hwnas.kernel_table"
VERSION = 1
READINGS = 3  # of a kernel by which something is decided


class KernelTimer(Protocol):
    """Times the kernels of a network one by one, as `Measurer` does."""

    @property
    def device_name(self) -> str: ...

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]: ...


READINGS_MS = Mapping[str, Mapping[str, tuple[float, ...]]]  # by device and kernel


class KernelTable:
    """Milliseconds of kernels on one device.

    A kernel counts with the least of its readings: what else runs on a machine only adds to them.

    Args:
        path: The file that keeps them; what it holds for another device is left alone.

    Raises:
        UserError: If the file is damaged.
    """

    def __init__(self, timer: KernelTimer, path: Path) -> None:
        self.timer = timer
        self.path = path
        self._devices = read_table(path)
        self._readings = self._devices.setdefault(timer.device_name, {})

    def differing_ms(self, graph: Graph, other: Graph) -> tuple[float, float]:
        """Returns what the kernels take that only one of two networks has: of each network.

        Raises: as `Measurer.kernel_latencies`.
        """
        ours, theirs = self.kernels(graph), self.kernels(other)
        return self.sum_ms(ours - theirs), self.sum_ms(theirs - ours)

    def confirm(self, graph: Graph, other: Graph) -> None:
        """Takes more readings of the kernels that only one of two networks has, in turns.

        Raises: as `Measurer.kernel_latencies`.
        """
        ours, theirs = self.kernels(graph), self.kernels(other)
        for _ in range(READINGS - 1):
            for network, differing in ((graph, ours - theirs), (other, theirs - ours)):
                few = {key for key in differing if len(self._readings[key]) < READINGS}
                nodes = {name: key for name, key in kernel_keys(network).items() if key in few}
                if nodes:
                    self._measure(network, nodes)

    def sum_ms(self, kernels: "Counter[str]") -> float:
        return sum(min(self._readings[key]) * count for key, count in kernels.items())

    def kernels(self, graph: Graph) -> "Counter[str]":
        """Returns the keys of the kernels of ``graph``, all of them in the table by then."""
        keys = kernel_keys(graph)
        unknown = {name: key for name, key in keys.items() if key not in self._readings}
        if unknown:
            self._measure(graph, unknown)
        return Counter(keys.values())

    def _measure(self, graph: Graph, keys: dict[str, str]) -> None:
        """Takes a reading of each key; of nodes with equal ones, that of the first."""
        first = {key: name for name, key in reversed(keys.items())}
        wanted = set(first.values())
        nodes = [node for node, row in rows_of_nodes(graph).items() if row in wanted]
        times = times_by_row(graph, self.timer.kernel_latencies(graph, nodes))
        assert times.keys() <= wanted, "other kernels were timed than those asked for"
        for key, name in first.items():
            # What has no time of its own runs inside another kernel.
            self._readings.setdefault(key, []).append(times.get(name, 0.0))
        write_json(
            self.path, {"format": FORMAT, "version": VERSION, "readings_ms": dict(self._devices)}
        )


def read_table(path: Path) -> dict[str, dict[str, list[float]]]:
    try:
        remedy = "delete it, and its kernels are timed again"
        data = read_json(path, remedy, {"readings_ms": READINGS_MS})
    except FileNotFoundError:
        return {}
    if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise UserError(f"{path} is no kernel table of this hwnas; delete it")
    readings = data.get("readings_ms", {})
    if not all(times for kernels in readings.values() for times in kernels.values()):
        raise UserError(f"{path} is damaged (a kernel has no readings); {remedy}")
    return {
        device: {key: list(times) for key, times in kernels.items()}
        for device, kernels in readings.items()
    }


def kernel_keys(graph: Graph) -> dict[str, str]:
    """Returns for each row of a network's table of kernels a text that equal ones share."""
    formats, rows = Formats(graph), set(rows_of_nodes(graph).values())
    keys = {INPUT: shortened([graph.input_shape, written(formats, INPUT)])}
    for kernel in fuse(graph):
        keys[kernel.node.name] = shortened(described(graph, formats, kernel))
    for name in rows - keys.keys():
        keys[name] = shortened(described_view(graph, formats, graph.node(name)))
    return keys


def shortened(description: object) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def described(graph: Graph, formats: Formats, kernel: FusedKernel) -> list[object]:
    """Returns what decides how long a kernel takes, as JSON-ready data."""
    fields = operator_fields(kernel.operator)
    fields.pop("prune_ratio", None)  # says how a width came about
    sources = [described_map(graph, formats, kernel.node, name) for name in kernel.inputs]
    if kernel.residual is not None:
        adding = graph.node(kernel.output)
        sources.append(["residual", described_map(graph, formats, adding, kernel.residual)])
    return [fields, sources, kernel.activation, written(formats, kernel.output)]


def described_view(graph: Graph, formats: Formats, view: Node) -> list[object]:
    fields = operator_fields(view.operator)
    return [fields, described_map(graph, formats, view, *view.inputs), written(formats, view.name)]


def described_map(graph: Graph, formats: Formats, reader: Node, name: str) -> list[object]:
    """Returns shape and format of a map as ``reader`` reads it, and what it is a part of."""
    native = formats.native[name]
    if native is not None:
        read = [code(formats, native)]
    elif only_moves(reader.operator):
        wishes = formats.wishes(reader, dict.fromkeys(formats.kept[reader.name]))
        read = [code(formats, wish) for wish in wishes]
    else:
        read = [code(formats, REAL)]
    whole = name
    while whole != INPUT and isinstance(graph.node(whole).operator, ChannelSplit):
        (whole,) = graph.node(whole).inputs
    return [graph.shapes[name], graph.shapes[whole], read]


def written(formats: Formats, name: str) -> list[object]:
    return [code(formats, kept) for kept in formats.kept[name]]


def code(formats: Formats, name: str) -> Any:  # noqa: ANN401  (JSON)
    """Returns a format without its name: real, or the fields of its quantizer."""
    return "real" if name == REAL else operator_fields(formats.quantizer(name))
