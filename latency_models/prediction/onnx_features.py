"""Features of kernels of any runtime: those of compiled kernels, and of ONNX Runtime's operators.

ONNX Runtime's tiles are its own. Both the row of features and the amounts of work follow from the
kernel and the vector unit alone.
"""

from math import prod

from latency_models.compiler.network_kernels import AnyKernel
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.layout import (
    BorderKernel,
)
from latency_models.onnx.kernels import OnnxKernel
from latency_models.prediction.features import (
    Description,
    KernelWork,
    activation_cost,
    log,
    new_work,
    window_text,
)
from latency_models.prediction.kernel_features import DESCRIBE, describe_border
from search_spaces.graphs.cost import MACS
from search_spaces.graphs.operators import OPERATOR_NAMES, Conv2d, Quantize


def describe_onnx(kernel: OnnxKernel, work: KernelWork) -> Description:
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
