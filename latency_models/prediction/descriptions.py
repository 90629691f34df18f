"""Descriptions: kernels as numbers, for models that learn what kernels take.

One row of `FEATURES` for each kernel, and a few `TERMS`: amounts of work of which its time is
about a sum. Both follow from the kernel and the vector unit alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from latency_models.kernels.bit_conv import BitConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.convolution import Convolution, ConvTile
from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.depthwise import DepthwiseKernel, DepthwiseTile
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.integer_conv import IntegerConvKernel
from latency_models.kernels.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.layout import (
    BorderKernel,
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.plain import PlainKernel
from latency_models.kernels.pointwise import MagnitudeKernel, PointwiseKernel
from latency_models.kernels.pool import CodePoolKernel, GlobalPoolKernel, PoolKernel
from latency_models.kernels.sign_conv import SignConvKernel
from latency_models.kernels.view import View
from latency_models.network_kernels import AnyKernel, default_tile
from latency_models.onnx_kernels import OnnxKernel
from search_spaces.cost import MACS
from search_spaces.operators import OPERATOR_NAMES, Activation, Conv2d, Quantize

TERMS = (
    "calls",
    "cycles",
    "sums",
    "real_vectors",
    "code_vectors",
    "plane_vectors",
    "residual_vectors",
    "curved_vectors",
    "read_bytes",
    "weight_bytes",
)
FEATURES = (
    *("log_cycles", "log_macs", "log_read", "log_written", "log_weights", "log_pixels"),
    *("log_inputs", "log_outputs", "log_groups", "intensity", "window", "window_height"),
    *("stride", "lane_rest", "word_rest", "vectors", "tile_rows", "tile_columns"),
    *("tile_vectors", "outside", "row_rest", "column_rest", "vector_rest", "height", "width"),
    *("reals", "codes", "planes", "target_bits", "residual", "activation", "scaled", "factor"),
    *("threshold", "source_kind", "source_bits", "weight_bits", "halo", "planar", "sources"),
    *("stride_bytes", "target_halo", "variant", "merged", "rest"),
)
# What else tells kernels of one family apart.
VARIANTS = ("max", "average", "copy", "add", "scale")
CURVED = ("hardswish", "hardsigmoid")
KINDS = {"real": 0, "codes": 1, "planes": 2}


@dataclass(frozen=True, slots=True)
class Description:
    """A kernel as numbers.

    Attributes:
        kind: What it is, for people: kernels of one kind differ in size only.
        family: Kernels that have one piece of code.
        precision: What its numbers are, for example "w8a8"; "" where nothing is multiplied.
        macs: Multiply-accumulates.
        moved_bytes: Read and written, weights included.
    """

    kind: str
    family: str
    precision: str
    macs: float
    moved_bytes: float
    terms: tuple[float, ...]
    features: tuple[float, ...]


@dataclass(slots=True)
class Work:
    """Amounts of work of one kernel, as they are counted."""

    unit: VectorUnit
    terms: dict[str, float]
    features: dict[str, float]

    def add_views(self, sources: tuple[View, ...], targets: tuple[View, ...]) -> None:
        lanes = self.unit.lanes
        for view in targets:
            vectors = view.height * view.width * -(-view.channels // lanes)
            name = {"real": "real", "codes": "code", "planes": "plane"}[view.form.kind]
            self.terms[f"{name}_vectors"] += vectors
            self.features[{"real": "reals"}.get(view.form.kind, view.form.kind)] += 1
        source, target = sources[0] if sources else targets[0], targets[0]
        self.terms["read_bytes"] += sum(map(map_bytes, sources))
        self.features |= {
            "log_pixels": log(target.height * target.width),
            "height": target.height,
            "width": target.width,
            "log_inputs": log(source.channels),
            "log_outputs": log(target.channels),
            "lane_rest": target.channels % lanes / lanes,
            "word_rest": source.channels % 32 / 32,
            "rest": target.channels % lanes,
            "vectors": -(-target.channels // lanes),
            "source_kind": KINDS[source.form.kind],
            "source_bits": source.form.bits,
            "halo": source.halo,
            "target_halo": target.halo,
            "planar": float(source.planar or target.planar),
            "sources": len(sources),
            "target_bits": min(view.form.bits for view in targets),
            "stride_bytes": log(source.pixel_stride * source.form.element_bytes),
            "log_written": log(sum(map(map_bytes, targets))),
        }

    def add_epilogue(self, end: Epilogue) -> None:
        vectors = end.shape[1] * end.shape[2] * -(-end.shape[0] // self.unit.lanes)
        if end.residual is not None:
            self.terms["residual_vectors"] += vectors
            self.terms["read_bytes"] += map_bytes(end.residual)
        if end.activation in CURVED:
            self.terms["curved_vectors"] += vectors
        self.features |= {
            "residual": 0 if end.residual is None else 1 + KINDS[end.residual.form.kind],
            "activation": activation_cost(end.activation),
            "scaled": end.scaled,
            "factor": end.factor is not None,
            "threshold": end.by_threshold,
        }

    def described(self, kind: str, family: str, precision: str, macs: float) -> Description:
        read, weights = self.terms["read_bytes"], self.terms["weight_bytes"]
        moved = read + weights + float(np.expm1(self.features.get("log_written", 0.0)))
        self.terms["calls"] = 1.0
        self.features |= {
            "log_cycles": log(self.terms["cycles"]),
            "log_macs": log(macs),
            "log_read": log(read),
            "log_weights": log(weights),
            "intensity": macs / max(moved, 1.0),
        }
        return Description(
            kind,
            family,
            precision,
            macs,
            moved,
            tuple(float(self.terms[name]) for name in TERMS),
            tuple(float(self.features[name]) for name in FEATURES),
        )


def activation_cost(activation: Activation) -> float:
    """0 for none, 1 for a bound or two, 2 for more."""
    return 2.0 if activation in CURVED else float(activation != "none")


def log(value: float) -> float:
    return float(np.log1p(value))


def map_bytes(view: View) -> float:
    bits = {"real": 32, "codes": 8, "planes": view.form.bits}[view.form.kind]
    return prod(view.shape) * bits / 8


def new_work(unit: VectorUnit) -> Work:
    return Work(unit, dict.fromkeys(TERMS, 0.0), dict.fromkeys(FEATURES, 0.0))


def window_text(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def describe_convolution(kernel: Convolution, work: Work) -> Description:
    unit, tile = work.unit, default_tile(kernel, work.unit)
    assert isinstance(tile, ConvTile)
    precision, weight_bits = convolution_precision(kernel)
    source, target, window = kernel.source, kernel.target, prod(kernel.kernel_size)
    cycles = import_module(type(kernel).__module__).estimated_cycles(kernel, unit, tile)
    sums = target.height * target.width * kernel.groups * kernel.num_vectors(unit)
    macs = prod(target.shape) * kernel.in_channels * window
    work.add_views((source,), kernel.epilogue.targets)
    work.add_epilogue(kernel.epilogue)
    work.terms["cycles"] = cycles * kernel.groups
    work.terms["sums"] = sums
    padded = kernel.padded_channels(unit)
    work.terms["weight_bytes"] = padded * kernel.in_channels * window * weight_bits / 8
    height, width = kernel.map_size
    work.features |= {
        "log_inputs": log(kernel.in_channels),
        "log_outputs": log(kernel.out_channels),
        "log_groups": log(kernel.groups),
        "lane_rest": kernel.out_channels % unit.lanes / unit.lanes,
        "word_rest": kernel.in_channels % 32 / 32,
        "vectors": kernel.num_vectors(unit),
        "window": window,
        "window_height": kernel.kernel_size[0],
        "stride": kernel.stride[0],
        "weight_bits": weight_bits,
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "tile_vectors": tile.vectors,
        "outside": tile.blocks_outside,
        "row_rest": height % tile.rows,
        "column_rest": width % tile.columns,
        "vector_rest": kernel.num_vectors(unit) % tile.vectors,
    }
    grouped = " grouped" if kernel.groups > 1 else ""
    kind = f"conv2d {window_text(kernel.kernel_size)}{grouped} {precision}"
    if window_is_map(kernel):
        kind = f"linear {precision}"
    return work.described(kind, type(kernel).__name__, precision, macs)


def window_is_map(kernel: Convolution) -> bool:
    """Whether it is one sum of a whole map, as fully connected layers are."""
    return kernel.target.height == kernel.target.width == 1 and kernel.padding == (0, 0)


def convolution_precision(kernel: Convolution) -> tuple[str, int]:
    """Returns the precision's name and the bits of a weight."""
    match kernel:
        case SignConvKernel():
            return "bwn", 1
        case BitConvKernel():
            bits, weight_bits = kernel.source.form.bits, kernel.weight_bits
            return "xnor" if bits == 1 else f"w{weight_bits}a{bits}", weight_bits
        case IntegerConvKernel():
            return f"w{kernel.weight_bits}a{kernel.source.form.bits}", kernel.weight_bits
    return "fp32", 32


def describe_depthwise(
    kernel: DepthwiseKernel | IntegerDepthwiseKernel, work: Work
) -> Description:
    unit, tile = work.unit, default_tile(kernel, work.unit)
    assert isinstance(tile, DepthwiseTile)
    real = isinstance(kernel, DepthwiseKernel)
    source, target, window = kernel.source, kernel.target, prod(kernel.kernel_size)
    vectors = kernel.padded_channels(unit) // unit.lanes
    sums = target.height * target.width * vectors
    work.add_views((source,), kernel.epilogue.targets)
    work.add_epilogue(kernel.epilogue)
    work.terms["cycles"] = sums * window
    work.terms["sums"] = sums
    work.terms["weight_bytes"] = vectors * unit.lanes * window * (4 if real else 1)
    work.features |= {
        "log_inputs": 0.0,
        "log_groups": log(source.channels),
        "window": window,
        "window_height": kernel.kernel_size[0],
        "stride": kernel.stride[0],
        "weight_bits": 32 if real else 8,
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "row_rest": target.height % tile.rows,
        "column_rest": target.width % tile.columns,
    }
    precision = "fp32" if real else "w8a8"
    kind = f"depthwise {window_text(kernel.kernel_size)} {precision}"
    return work.described(kind, type(kernel).__name__, precision, prod(target.shape) * window)


def describe_plain(kernel: PlainKernel, work: Work) -> Description:
    target = kernel.target
    vectors = target.height * target.width * (work_vectors(kernel, work.unit))
    window, names = 1, [FORM_NAMES[kernel.source.form.kind]]
    match kernel:
        case PoolKernel():
            window, name = prod(kernel.kernel_size), f"{kernel.kind} pool"
            work.features |= {"stride": kernel.stride[0], "variant": VARIANTS.index(kernel.kind)}
            name = f"{name} {window_text(kernel.kernel_size)}"
        case GlobalPoolKernel():
            window, name = kernel.source.height * kernel.source.width, "global pool"
        case MagnitudeKernel():
            window, name = -(-kernel.source.channels // work.unit.lanes), "magnitude"
        case PointwiseKernel():
            name = kernel.kind
            work.features |= {"variant": VARIANTS.index(name), "merged": kernel.map_size[0] == 1}
        case _:
            raise AssertionError(kernel)
    work.add_views(kernel.sources, kernel.epilogue.targets)
    work.add_epilogue(kernel.epilogue)
    work.terms["cycles"] = vectors * window
    work.terms["sums"] = vectors
    work.features |= {"window": window, "weight_bits": kernel.source.form.bits}
    targets = "+".join(FORM_NAMES[view.form.kind] for view in kernel.epilogue.targets)
    kind = f"{name} {'+'.join(names)} to {targets}"
    return work.described(kind, type(kernel).__name__, "", 0.0)


FORM_NAMES = {"real": "float32", "codes": "codes", "planes": "bits"}


def work_vectors(kernel: PlainKernel, unit: VectorUnit) -> int:
    return kernel.padded_channels(unit) // unit.lanes


def describe_moving(
    kernel: CodePoolKernel | ShuffleKernel | LayoutKernel | PlanarCodesKernel, work: Work
) -> Description:
    target, lanes = kernel.target, work.unit.lanes
    window = prod(kernel.kernel_size) if isinstance(kernel, CodePoolKernel) else 1
    pixels = target.height * target.width
    match kernel:
        case CodePoolKernel():  # vectors of four lanes, then of one, then single codes
            wide, rest = divmod(target.channels, 4 * lanes)
            steps, single = wide + rest // lanes, rest % lanes
        case ShuffleKernel():
            steps, single = target.channels // kernel.groups, target.channels
        case _:
            steps, single = -(-target.channels // lanes), target.channels % lanes
    work.add_views((kernel.source,), (kernel.target,))
    work.terms["cycles"] = pixels * steps * window
    work.terms["sums"] = pixels * single * window
    work.features |= {
        "window": window,
        "stride": kernel.stride[0] if isinstance(kernel, CodePoolKernel) else 1,
        "log_groups": log(kernel.groups if isinstance(kernel, ShuffleKernel) else 1),
        "rest": single,
    }
    name = MOVING[type(kernel)]
    kind = f"{name} {FORM_NAMES[kernel.source.form.kind]} to {FORM_NAMES[target.form.kind]}"
    return work.described(kind, type(kernel).__name__, "", 0.0)


MOVING: Mapping[type, str] = {
    CodePoolKernel: "max pool",
    ShuffleKernel: "shuffle",
    LayoutKernel: "layout",
    PlanarCodesKernel: "input codes",
}


def describe_border(numbers: tuple[int, ...], work: Work) -> Description:
    planes, rows, _, _, before, _, _, sides, _, after = numbers
    filled = planes * (before + after + rows * sides)
    work.terms["cycles"] = planes * (2 + rows)
    work.terms["read_bytes"] = filled
    work.features |= {"log_pixels": log(rows), "log_outputs": log(sides), "height": rows}
    work.features |= {"log_groups": log(planes), "log_written": log(filled)}
    return work.described("border", "BorderKernel", "", 0.0)


def describe_plane_border(kernel: PlaneBorderKernel, work: Work) -> Description:
    view = kernel.target
    around = 2 * view.halo * (view.height + view.width + 2 * view.halo)
    work.add_views((), (view,))
    work.terms["cycles"] = around * view.words * view.form.bits
    work.terms["plane_vectors"] = 0.0
    return work.described("border of bits", "PlaneBorderKernel", "", 0.0)


DESCRIBE: Mapping[type, Callable[[Any, Work], Description]] = {
    **dict.fromkeys(
        (Conv2dKernel, IntegerConvKernel, BitConvKernel, SignConvKernel), describe_convolution
    ),
    **dict.fromkeys((DepthwiseKernel, IntegerDepthwiseKernel), describe_depthwise),
    **dict.fromkeys(
        (PoolKernel, GlobalPoolKernel, PointwiseKernel, MagnitudeKernel), describe_plain
    ),
    **dict.fromkeys(
        (CodePoolKernel, ShuffleKernel, LayoutKernel, PlanarCodesKernel), describe_moving
    ),
    PlaneBorderKernel: describe_plane_border,
}


def describe_onnx(kernel: OnnxKernel, work: Work) -> Description:
    """One operator of ONNX Runtime, whose tiles are its own: shapes, and what is quantized."""
    graph, operator = kernel.graph, kernel.operator
    node = graph.node("kernel")
    shapes, target = graph.input_shapes(node), node.shape
    source, pixels = shapes[0], target[1] * target[2]
    coded = {
        each.name: each.operator.bits
        for each in graph.nodes
        if isinstance(each.operator, Quantize)
    }
    before, after = "before" in coded, "after0" in coded
    precision = getattr(operator, "precision", None)
    name = OPERATOR_NAMES[type(operator)]
    macs = MACS[type(operator)](operator, shapes, target)
    size = getattr(operator, "kernel_size", (1, 1))
    groups = getattr(operator, "groups", 1)
    weights = precision.weight_bits if precision else 0
    depthwise = isinstance(operator, Conv2d) and operator.is_depthwise(source[0])
    work.terms |= {
        "cycles": float(macs) / work.unit.lanes,
        "sums": prod(target) / work.unit.lanes,
        "code_vectors": after * prod(target) / work.unit.lanes,
        "plane_vectors": before * prod(source) / work.unit.lanes,
        "read_bytes": 4.0 * sum(map(prod, shapes)),
        "weight_bytes": 4.0 * macs / max(pixels, 1),
    }
    work.features |= {
        "log_pixels": log(pixels),
        "log_inputs": log(source[0] // groups),
        "log_outputs": log(target[0] // groups),
        "log_groups": log(groups),
        "log_written": log(4 * prod(target)),
        "window": prod(size),
        "window_height": size[0],
        "stride": getattr(operator, "stride", (1, 1))[0],
        "lane_rest": target[0] % work.unit.lanes / work.unit.lanes,
        "word_rest": source[0] % 4 / 4,
        "activation": activation_cost(getattr(operator, "activation", "none")),
        "codes": float(after),
        "source_kind": float(before),
        "source_bits": coded.get("before", 32),
        "target_bits": coded.get("after0", 32),
        "weight_bits": weights,
        "height": target[1],
        "width": target[2],
        "sources": len(shapes),
        "reals": len(graph.nodes),
    }
    what = "depthwise" if depthwise else f"{name} grouped" if groups > 1 else name
    window = f" {window_text(size)}" if hasattr(operator, "kernel_size") else ""
    tail = f" {precision}" if precision else " codes" if before else ""
    tail += {1: " to signs", 32: ""}.get(coded.get("after0", 32), " to codes")
    family = f"{what}{tail}"
    return work.described(f"{what}{window}{tail}", family, str(precision or ""), macs)


def describe(kernel: AnyKernel, unit: VectorUnit) -> Description:
    """Returns a kernel as numbers."""
    if isinstance(kernel, OnnxKernel):
        return describe_onnx(kernel, new_work(unit))
    if isinstance(kernel.kernel, BorderKernel):
        return describe_border(kernel.numbers, new_work(unit))
    return DESCRIBE[type(kernel.kernel)](kernel.kernel, new_work(unit))
