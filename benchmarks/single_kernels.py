"""Our kernels of one convolution at each precision, ready to be timed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from benchmarks.interleaved import Call
from benchmarks.shapes import Shape
from latency_models.compiler.build import Call as KernelCall
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.lower import SPARE, as_bytes
from latency_models.compiler.memory import MEMORIES, Address, aligned
from latency_models.compiler.plan import Tile
from latency_models.compiler.tuning import ordinary_values, random_memory, random_weights
from latency_models.devices.cpu import Cpu
from latency_models.kernels.coded.bit_conv import BitConvKernel
from latency_models.kernels.coded.integer_conv import IntegerConvKernel
from latency_models.kernels.coded.integer_depthwise import IntegerDepthwiseKernel
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.depthwise import DepthwiseKernel
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.kernel import TiledKernel
from latency_models.kernels.plain import PointwiseKernel
from latency_models.kernels.view import REAL, Form, Kind, View
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.precision import Precision

Kernel = TiledKernel[Any] | PointwiseKernel
PIXEL_BYTES = 4  # of a map of codes of up to four channels: the network's input


def form_of(precision: Precision) -> Form:
    """Of the maps between two layers of a precision, which follow a ReLU."""
    if precision.activations == "real":
        return REAL
    kind: Kind = "planes" if precision.activation_bits <= 2 else "codes"
    return Form(kind, precision.activation_bits)


def source_view(shape: Shape, form: Form) -> View:
    """A map as the kernel reads it, with its border; the input of a real network is planar."""
    first = shape.in_channels <= PIXEL_BYTES
    stride = PIXEL_BYTES if first and form.kind == "codes" else 0
    planar = first and form == REAL
    return View(shape.in_channels, shape.size, shape.size, shape.padding, stride, planar, form)


def convolution(shape: Shape, precision: Precision, target: Form) -> TiledKernel[Any]:
    """The kernel of a layer that writes a map of one form."""
    form = form_of(precision)
    source = source_view(shape, form)
    written = View(shape.out_channels, shape.out_size, shape.out_size, form=target)
    activation: Activation = "none" if form.bits == 1 else "relu"
    end = Epilogue((written,), activation, scaled=precision.weights != "real")
    if shape.depthwise:
        kind: Any = DepthwiseKernel if form == REAL else IntegerDepthwiseKernel
        return kind(source, end, *shape.windows)
    geometry = (source, end, *shape.windows, shape.groups)
    if form == REAL:
        real: Any = Conv2dKernel if precision.weights == "real" else SignConvKernel
        return real(*geometry)
    kind = BitConvKernel if form.kind == "planes" else IntegerConvKernel
    return kind(*geometry, precision.weight_bits)


def packing(shape: Shape, precision: Precision) -> PointwiseKernel:
    """The kernel that turns a real map into what the layer reads."""
    source = View(shape.in_channels, shape.size, shape.size)
    return PointwiseKernel((source,), Epilogue((source_view(shape, form_of(precision)),)))


def call_of(kernels: Sequence[tuple[Kernel, Tile]], cpu: Cpu) -> Call:
    """Returns a call that runs kernels one after another, each on what the last one wrote."""
    rng = np.random.default_rng(0)
    blobs, calls = [np.zeros(0, np.uint8)], []
    start = SPARE
    written: dict[View, int] = {}
    for index, (kernel, tile) in enumerate(kernels):
        places: dict[str, Address] = {}
        for name, blob in constants(kernel, tile, cpu, rng).items():
            places[name] = Address("weights", sum(map(len, blobs)))
            blobs.append(np.pad(blob, (0, aligned(blob.size) - blob.size)))
        for name, view in maps(kernel).items():
            if view not in written or name.startswith("target"):
                written[view] = start + view.origin * view.form.element_bytes
                start += aligned(view.bytes) + SPARE
            places[name] = Address("workspace", written[view])
        calls.append(
            KernelCall(f"kernel{index}", tuple(places[name] for name in kernel.arguments))
        )
    one = np.zeros(1, np.float32)
    weights = np.concatenate([*blobs, np.zeros(SPARE, np.uint8)])
    memories: tuple[NDArray[Any], ...] = (one, weights, random_memory(start, rng), one)
    shapes = {name: memory.shape for name, memory in zip(MEMORIES, memories, strict=True)}
    functions = {f"kernel{i}": function(k, tile, cpu) for i, (k, tile) in enumerate(kernels)}
    module = kernel_module(functions, {"run": calls}, shapes)
    run = compile_kernels(module, cpu.target)["run"]
    tensors = [tvm.runtime.tensor(memory) for memory in memories]
    return lambda: run(*tensors)


def function(kernel: Any, tile: Tile, cpu: Cpu) -> Any:  # noqa: ANN401  tvm is untyped
    unit = cpu.vector_unit
    return kernel.function(unit) if tile is None else kernel.function(unit, tile)


def maps(kernel: Kernel) -> Mapping[str, View]:
    """The kernel's maps by argument."""
    source = "source0" if isinstance(kernel, PointwiseKernel) else "source"
    end = kernel.epilogue
    others = [name for name in end.arguments if name != "constants"]
    return {source: kernel.source} | dict(zip(others, end.views, strict=True))


def constants(
    kernel: Any,  # noqa: ANN401
    tile: Tile,
    cpu: Cpu,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Random weights and ordinary constants by argument, as bytes."""
    unit, end = cpu.vector_unit, kernel.epilogue
    padded, places = kernel.padded_channels(unit), kernel.places(unit)
    blobs = {}
    if "weights" in kernel.arguments:
        blobs["weights"] = as_bytes(kernel.pack(*random_weights(kernel, rng), unit, tile))
    if end.has_constants:
        blobs["constants"] = as_bytes(end.pack(ordinary_values(end), padded, places))
    return blobs
