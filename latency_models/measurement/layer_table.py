"""Tables: a network kernel by kernel, as ``nas show`` and the report print it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from latency_models.measurement.measurer import KernelLatency
from search_spaces.graphs import operators as ops
from search_spaces.graphs.cost import Cost, kernel_costs, precision_of
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.precision import FP32

# What was measured of a row: milliseconds, share of all, instruction, milliseconds in float32.
Timed = Callable[[str], tuple[float | None, float | None, str, float | None]]


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One kernel of a network.

    Attributes:
        name: The node whose arrays the kernel holds; "input" for a change of the input's layout.
        operator: Its name, with what was fused into it, e.g. ``"conv2d + add + relu"``.
        window: Size, stride, dilation and groups, e.g. ``"3x3 /2 depthwise"``; "" where there is
            none.
        precision: Of its weights and what they read; "" where it has no weights.
        shape: (C, H, W) of what it writes.
        ms: Measured milliseconds of this kernel alone; None where it was not measured.
        share: ``ms`` over the sum of all kernels.
        instruction: What does the work, e.g. ``"vpdpbusd"``; "" where nothing stands out.
        fp32_ms: Milliseconds of the same layer in the same network in float32; None where it has
            none (a quantizer), or was not measured.
    """

    name: str
    operator: str
    window: str
    precision: str
    shape: ops.Shape
    macs: int
    memory_access_bytes: int
    weight_bytes: int
    params: int
    ms: float | None = None
    share: float | None = None
    instruction: str = ""
    fp32_ms: float | None = None

    @property
    def is_no_faster(self) -> bool:
        """Whether a layer of fewer bits was measured to take as long as in float32, or longer."""
        coded = self.precision not in ("", FP32.name)
        return (
            coded and self.ms is not None and self.fp32_ms is not None and self.ms >= self.fp32_ms
        )


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """What was measured of a network's kernels, one by one.

    Attributes:
        ms: Median milliseconds by the name of the row: the kernel's node, "input" where the
            runtime changes the input's layout first, or a view whose codes are changed.
        instructions: What does the work, by the same names.
        fp32_ms: Median milliseconds of the same network in float32; None where it was not
            measured, as for a network that is in float32 itself.
    """

    ms: Mapping[str, float]
    instructions: Mapping[str, str] = field(default_factory=dict)
    fp32_ms: Mapping[str, float] | None = None


def layer_rows(graph: Graph, times: LayerTimes | None = None) -> tuple[LayerRow, ...]:
    """Returns one row a kernel, in the order in which they run.

    Args:
        times: A kernel that is not in it was not measured, and its row says so.

    Raises:
        UserError: If ``times`` names a node that has no row in the table of ``graph``.
    """
    times = times or LayerTimes({})
    measured = dict(times.ms)
    if unknown := sorted(measured.keys() - set(rows_of_nodes(graph).values())):
        raise UserError(
            f"the times of kernels must belong to the network, got one of {unknown[0]!r}, which "
            "is no kernel of it; measure this network"
        )
    total = sum(measured.values())

    def timed(name: str) -> tuple[float | None, float | None, str, float | None]:
        ms = measured.get(name)
        share = ms / total if ms is not None and total > 0 else None
        return ms, share, times.instructions.get(name, ""), (times.fp32_ms or {}).get(name)

    rows = {
        kernel.output: layer_row(graph, kernel, cost, timed)
        for kernel, cost in kernel_costs(graph)
    }
    for name in measured.keys() - {row.name for row in rows.values()}:
        moved = "change of layout" if name == INPUT else "change of codes"
        shape = graph.shapes[name]
        rows[name] = LayerRow(name, moved, "", "", shape, 0, 0, 0, 0, *timed(name))
    return tuple(rows[name] for name in graph.shapes if name in rows)


def layer_row(graph: Graph, kernel: FusedKernel, cost: Cost, timed: Timed) -> LayerRow:
    name = kernel.node.name
    return LayerRow(
        name,
        described(kernel),
        window(kernel.operator, graph.input_shapes(kernel.node)),
        precision_of(kernel.operator).name if has_weights(kernel.operator) else "",
        kernel.shape,
        cost.macs,
        cost.memory_access_bytes,
        cost.weight_bytes,
        cost.params,
        *timed(name),
    )


def rows_of_nodes(graph: Graph) -> dict[str, str]:
    """Returns for each node, and the input, the row in which its time counts.

    That is its kernel; where it is a view, which a runtime may have to copy or code anew, the
    quantizer that reads it, or else a row of its own.
    """
    rows = {INPUT: INPUT}
    for kernel in fuse(graph):
        norm = () if kernel.norm is None else (kernel.norm,)
        parts = (kernel.node.name, *norm, kernel.output, *kernel.quantizers)
        rows |= dict.fromkeys(parts, kernel.node.name)
    for node in graph.nodes:
        if node.name not in rows:
            readers = (reader.name for reader in graph.consumers[node.name])
            coded = (n for n in readers if rows.get(n) == n and is_quantizer(graph.node(n)))
            rows[node.name] = next(coded, node.name)
    return rows


def times_by_row(graph: Graph, times: Iterable[KernelLatency]) -> dict[str, float]:
    """Returns the milliseconds of each row; one that runs as several kernels gets their sum."""
    rows, by_row = rows_of_nodes(graph), dict[str, float]()
    for time in times:
        by_row[rows[time.name]] = by_row.get(rows[time.name], 0.0) + time.median_ms
    return by_row


def is_quantizer(node: Node) -> bool:
    return isinstance(node.operator, ops.Quantize)


def has_weights(operator: ops.Operator) -> bool:
    return isinstance(operator, ops.Conv2d | ops.Linear)


def described(kernel: FusedKernel) -> str:
    parts = [ops.OPERATOR_NAMES[type(kernel.operator)]]
    if isinstance(kernel.operator, ops.Linear) and kernel.operator.sparsity is not None:
        parts[0] = f"sparse {parts[0]}"
    if kernel.residual is not None:
        parts.append("add")
    if kernel.activation != "none":
        parts.append(kernel.activation)
    # A quantizer is called like its map, and what it gives: "conv1.q8".
    parts += [name.rpartition(".")[2] for name in kernel.quantizers]
    if parts[0] == "activate":
        return " + ".join(parts[1:]) or "copy"
    return " + ".join(parts)


def window(operator: ops.Operator, inputs: tuple[ops.Shape, ...]) -> str:
    """
    >>> window(ops.Conv2d(8, (3, 3), stride=(2, 2), groups=8), ((8, 16, 16),))
    '3x3 /2 depthwise'
    >>> window(ops.Conv2d(8, (1, 5), dilation=(1, 2), groups=2), ((8, 16, 16),))
    '1x5 dilation 1x2 groups 2'
    """
    if isinstance(operator, ops.ChannelShuffle):
        return f"groups {operator.groups}"
    if not isinstance(operator, ops.Conv2d | ops.MaxPool | ops.AvgPool):
        return ""
    parts = ["{}x{}".format(*operator.kernel_size)]
    if operator.stride != (1, 1):
        parts.append(f"/{short(operator.stride)}")
    if isinstance(operator, ops.Conv2d):
        if operator.dilation != (1, 1):
            parts.append(f"dilation {short(operator.dilation)}")
        if operator.groups == inputs[0][0] and operator.groups > 1:
            parts.append("depthwise")
        elif operator.groups > 1:
            parts.append(f"groups {operator.groups}")
    return " ".join(parts)


def short(pair: tuple[int, int]) -> str:
    """
    >>> short((2, 2)), short((1, 2))
    ('2', '1x2')
    """
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
