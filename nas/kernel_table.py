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

from latency_models.measure import KernelLatency
from nas.run_folder import read_json, write_json
from nas.tables import times_by_node
from search_spaces.architecture import operator_fields
from search_spaces.errors import UserError
from search_spaces.formats import REAL, Formats, only_moves
from search_spaces.fusion import FusedKernel, fuse
from search_spaces.graph import INPUT, Graph, Node
from search_spaces.operators import ChannelSplit

FORMAT = "hwnas.kernel_table"
VERSION = 1


class KernelTimer(Protocol):
    """Times the kernels of a network one by one, as `latency_models.measure.Measurer` does."""

    @property
    def device_name(self) -> str: ...

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]: ...


class KernelTable:
    """Milliseconds of kernels on one device.

    Args:
        path: The file that keeps them; what it holds for another device is left alone.

    Raises:
        UserError: If the file is damaged.
    """

    def __init__(self, timer: KernelTimer, path: Path) -> None:
        self.timer = timer
        self.path = path
        self._devices = read_table(path)
        self._ms = self._devices.setdefault(timer.device_name, {})

    def differing_ms(self, graph: Graph, other: Graph) -> tuple[float, float]:
        """Returns what the kernels take that only one of two networks has: of each network.

        Raises: as `Measurer.kernel_latencies`.
        """
        ours, theirs = self.kernels(graph), self.kernels(other)
        return self.sum_ms(ours - theirs), self.sum_ms(theirs - ours)

    def sum_ms(self, kernels: "Counter[str]") -> float:
        return sum(self._ms[key] * count for key, count in kernels.items())

    def kernels(self, graph: Graph) -> "Counter[str]":
        """Returns the keys of the kernels of ``graph``, all of them in the table by then."""
        keys = kernel_keys(graph)
        unknown = {name: key for name, key in keys.items() if key not in self._ms}
        if unknown:
            self._measure(graph, unknown)
        return Counter(keys.values())

    def _measure(self, graph: Graph, keys: Mapping[str, str]) -> None:
        times = times_by_node(self.timer.kernel_latencies(graph, keys.keys()))
        assert times.keys() <= keys.keys(), "other kernels were timed than those asked for"
        for name, key in keys.items():
            # What has no time of its own runs inside another kernel.
            self._ms.setdefault(key, times.get(name, 0.0))
        write_json(
            self.path, {"format": FORMAT, "version": VERSION, "kernels_ms": dict(self._devices)}
        )


def read_table(path: Path) -> dict[str, dict[str, float]]:
    try:
        data = read_json(path, "delete it, and its kernels are timed again")
    except FileNotFoundError:
        return {}
    if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise UserError(f"{path} is no kernel table of this hwnas; delete it")
    return {str(device): dict(times) for device, times in data["kernels_ms"].items()}


def kernel_keys(graph: Graph) -> dict[str, str]:
    """Returns for each kernel, and for the input's change of format, a text that equal ones share.

    Kernels are called like their nodes.
    """
    formats = Formats(graph)
    keys = {INPUT: shortened([graph.input_shape, written(formats, INPUT)])}
    for kernel in fuse(graph):
        keys[kernel.node.name] = shortened(described(graph, formats, kernel))
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
