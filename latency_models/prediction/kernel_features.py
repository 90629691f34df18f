"""Compiled work: what kernels of ours do, with the tiles that they are compiled with."""

from collections.abc import Mapping
from math import prod

from latency_models.compiler.network_kernels import default_tile
from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.convolution import Convolution, ConvTile
from latency_models.kernels.depthwise import Depthwise, DepthwiseKernel, DepthwiseTile
from latency_models.kernels.kernel import Kernel
from latency_models.kernels.layout import (
    LayoutKernel,
    PlanarCodesKernel,
    PlaneBorderKernel,
    ShuffleKernel,
)
from latency_models.kernels.plain import MagnitudeKernel, PlainKernel, PointwiseKernel
from latency_models.kernels.reductions import (
    CodePoolKernel,
    GlobalPoolKernel,
    LayerNormKernel,
    LocalResponseKernel,
    PoolKernel,
)
from latency_models.kernels.sparse.linear import SparseLinearKernel
from latency_models.prediction.features import VARIANTS, Description, KernelWork, log, window_text
from search_spaces.graphs.precision import Sparsity


def describe_convolution(kernel: Convolution, work: KernelWork) -> Description:
    unit, tile = work.unit, default_tile(kernel, work.unit)
    assert isinstance(tile, ConvTile)
    precision, weight_bits = convolution_precision(kernel)
    source, target, window = kernel.source, kernel.target, prod(kernel.kernel_size)
    cycles = kernel.estimated_cycles(unit, tile)
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


def describe_sparse(kernel: SparseLinearKernel, work: KernelWork) -> Description:
    """A kept weight is a load of its token, one of the table, and an addition."""
    size = kernel.layout.outputs * kernel.layout.inputs
    sparsity = Sparsity(kernel.density, kernel.bits)
    kept = sparsity.kept(size)
    work.add_views((kernel.source,), kernel.epilogue.targets)
    work.add_epilogue(kernel.epilogue)
    work.terms["cycles"] = kept * (1 if kernel.layout.by_products else 2)
    work.terms["sums"] = kernel.padded_channels(work.unit) // work.unit.lanes
    work.terms["weight_bytes"] = sparsity.stored_bytes(size)
    work.features |= {"window": kept / kernel.layout.outputs, "weight_bits": kernel.bits}
    return work.described("linear sparse", type(kernel).__name__, "fp32", kept)


def describe_depthwise(kernel: Depthwise, work: KernelWork) -> Description:
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


def describe_plain(kernel: PlainKernel, work: KernelWork) -> Description:
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
        case LayerNormKernel():  # its channels are read three times
            window, name = 3, "layer norm"
        case LocalResponseKernel():
            window, name = kernel.size + POWER_STEPS, "response norm"
        case PointwiseKernel():
            name = "norm" if kernel.epilogue.scaled else kernel.kind
            work.features |= {
                "variant": VARIANTS.index(kernel.kind),
                "merged": kernel.map_size[0] == 1,
            }
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


POWER_STEPS = 12  # what a power takes, in loads of a vector
FORM_NAMES = {"real": "float32", "codes": "codes", "planes": "bits"}


def work_vectors(kernel: PlainKernel, unit: VectorUnit) -> int:
    return kernel.padded_channels(unit) // unit.lanes


def describe_moving(
    kernel: CodePoolKernel | ShuffleKernel | LayoutKernel | PlanarCodesKernel, work: KernelWork
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


def describe_border(numbers: tuple[int, ...], work: KernelWork) -> Description:
    planes, rows, _, _, before, _, _, sides, _, after = numbers
    filled = planes * (before + after + rows * sides)
    work.terms["cycles"] = planes * (2 + rows)
    work.terms["read_bytes"] = filled
    work.features |= {"log_pixels": log(rows), "log_outputs": log(sides), "height": rows}
    work.features |= {"log_groups": log(planes), "log_written": log(filled)}
    return work.described("border", "BorderKernel", "", 0.0)


def describe_plane_border(kernel: PlaneBorderKernel, work: KernelWork) -> Description:
    view = kernel.target
    around = 2 * view.halo * (view.height + view.width + 2 * view.halo)
    work.add_views((), (view,))
    work.terms["cycles"] = around * view.words * view.form.bits
    work.terms["plane_vectors"] = 0.0
    return work.described("border of bits", "PlaneBorderKernel", "", 0.0)


def describe_kernel(kernel: Kernel, work: KernelWork) -> Description:
    """Returns a kernel as numbers; of borders, what ``describe_border`` does."""
    match kernel:
        case Convolution():
            return describe_convolution(kernel, work)
        case Depthwise():
            return describe_depthwise(kernel, work)
        case SparseLinearKernel():
            return describe_sparse(kernel, work)
        case PlainKernel():
            return describe_plain(kernel, work)
        case PlaneBorderKernel():
            return describe_plane_border(kernel, work)
        case CodePoolKernel() | ShuffleKernel() | LayoutKernel() | PlanarCodesKernel():
            return describe_moving(kernel, work)
    raise AssertionError(kernel)
