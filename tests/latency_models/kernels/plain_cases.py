"""Kernels without weights in a few forms, with all their targets, and what they should write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.cpu import Cpu
from latency_models.kernels.epilogue import Epilogue, EpilogueValues
from latency_models.kernels.plain import MagnitudeKernel, PlainKernel, PointwiseKernel
from latency_models.kernels.reductions import (
    GlobalPoolKernel,
    LayerNormKernel,
    LocalResponseKernel,
    PoolKernel,
)
from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.activations import Activation
from search_spaces.graphs.operators import Shape
from tests.integer_oracle import activated
from tests.latency_models.kernels.kernel_runs import assert_close, run_kernel
from tests.latency_models.kernels.kernel_targets import (
    NIBBLES,
    SIGNED,
    SIGNED_PAIRS,
    SIGNS,
    TARGETS,
    sign_norm,
    target_values,
    values_of,
    written,
)
from tests.latency_models.parts import oracle

Array = NDArray[Any]
F = np.float32
SOURCE_STEP = 0.3


@dataclass(frozen=True, slots=True)
class PlainCase:
    """One kernel without weights.

    Attributes:
        kind: Its class.
        shapes: Of its sources.
        forms: Of its sources.
        compute: The result from the sources' real numbers.
        options: Further arguments of the kernel.
        scaled: Whether each channel is multiplied by a factor and a term is added, as norms do.
    """

    kind: type[PlainKernel]
    shapes: tuple[Shape, ...]
    forms: tuple[Form, ...]
    compute: Callable[..., Array]
    options: tuple[object, ...] = ()
    activation: Activation = "none"
    targets: tuple[Form, ...] = TARGETS
    scaled: bool = False


def run_plain_case(case: PlainCase, cpu: Cpu, seed: int = 0) -> None:
    """Runs a case on a processor and asserts that every target holds what it should."""
    rng = np.random.default_rng(seed)
    unit = cpu.vector_unit
    maps: dict[str, tuple[View, Array | None]] = {}
    numbers = []
    for index, (shape, form) in enumerate(zip(case.shapes, case.forms, strict=True)):
        values = values_of(form, shape, rng)
        maps[f"source{index}"] = View(*shape, 1, form=form), values
        numbers.append(real(form, values))
    values = case.compute(*numbers).astype(F)
    channels, height, width = values.shape
    scale, bias = rng.uniform(-1.5, 1.5, (2, channels)).astype(F)
    if case.scaled:
        values = values * scale[:, None, None] + bias[:, None, None]
    expected = activated(case.activation, values)
    targets = tuple(
        View(channels, height, width, index % 2, form=f) for index, f in enumerate(case.targets)
    )
    sources = tuple(view for view, _ in maps.values())
    end = Epilogue(targets, case.activation, scaled=case.scaled)
    kernel = case.kind(sources, end, *case.options)
    maps |= {f"target{index}": (view, None) for index, view in enumerate(targets)}
    norm = sign_norm(expected.shape[0], rng)
    constants = {"steps": np.array([1.0 if f == REAL else SOURCE_STEP for f in case.forms], F)}
    if kernel.epilogue.has_constants:
        ends = EpilogueValues(target_values(case.targets, norm), scale, bias)
        padded, places = kernel.padded_channels(unit), kernel.places(unit)
        constants["constants"] = kernel.epilogue.pack(ends, padded, places)

    results = run_kernel(kernel, cpu, maps, constants)

    if case.targets[0] != REAL:  # then each bit is a comparison with a threshold
        results = [expected, *results]
    elif case.kind in IN_ANY_ORDER:
        assert_close(results[0], expected)
    else:
        np.testing.assert_array_equal(results[0], expected)
    for form, result in zip(case.targets, results[-len(case.targets) :], strict=True):
        np.testing.assert_array_equal(result, written(form, results[0], norm))


# Their sums are added in any order.
IN_ANY_ORDER = (
    *(PoolKernel, GlobalPoolKernel, MagnitudeKernel, LayerNormKernel, LocalResponseKernel),
)


def real(form: Form, values: Array) -> Array:
    """The numbers of a map."""
    if form == REAL:
        return values
    codes = 2 * values.astype(int) - 1 if form == SIGNS else values.astype(int) - form.zero
    return codes.astype(F) * F(SOURCE_STEP)


def mean(x: Array) -> Array:
    return x.astype(np.float64).mean((1, 2), keepdims=True)


def magnitude(x: Array) -> Array:
    return np.abs(x).astype(np.float64).mean(0, keepdims=True)


def windows(kind: str, *options: Any) -> Callable[[Array], Array]:  # noqa: ANN401
    return lambda x: oracle.pool(kind, x, *options)


def mean_inside(x: Array) -> Array:
    """Means of what lies inside the map: sums over sums of ones."""
    pool = windows("average", *WINDOW)
    return pool(x) / pool(np.ones_like(x))


def layer_normed(x: Array) -> Array:
    centred = x - x.mean(0, dtype=np.float64)
    return centred / np.sqrt((centred**2).mean(0) + 0.01)


def response_normed(size: int, alpha: float, beta: float, k: float) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        squares = np.pad(x.astype(np.float64) ** 2, ((size // 2,) * 2, (0, 0), (0, 0)))
        sums = sum(squares[place : place + len(x)] for place in range(size))
        return x / (k + alpha / size * sums) ** beta

    return compute


RAGGED, WIDE, GATE = (13, 4, 5), (40, 3, 4), (13, 1, 1)
WINDOW = ((3, 2), (2, 1), (1, 1))
RESPONSE = (5, 2.0, 0.75, 0.5)
PLAIN_CASES: Mapping[str, PlainCase] = {
    "copy": PlainCase(PointwiseKernel, (WIDE,), (REAL,), np.array, ("copy",), "relu6"),
    "copy-codes": PlainCase(PointwiseKernel, (RAGGED,), (NIBBLES,), np.array, ("copy",)),
    "copy-signs": PlainCase(PointwiseKernel, (WIDE,), (SIGNS,), np.array, ("copy",)),
    "copy-pairs": PlainCase(PointwiseKernel, (RAGGED,), (SIGNED_PAIRS,), np.array, ("copy",)),
    "add": PlainCase(
        PointwiseKernel, (RAGGED, RAGGED), (SIGNED, REAL), np.add, ("add",), "hardswish"
    ),
    "scale": PlainCase(
        PointwiseKernel, (RAGGED, GATE), (REAL, REAL), np.multiply, ("scale",), "relu"
    ),
    "max": PlainCase(PoolKernel, (RAGGED,), (REAL,), windows("max", *WINDOW), ("max", *WINDOW)),
    "max-codes": PlainCase(
        PoolKernel, (WIDE,), (SIGNED,), windows("max", *WINDOW), ("max", *WINDOW)
    ),
    "average": PlainCase(
        PoolKernel, (RAGGED,), (REAL,), windows("average", *WINDOW), ("average", *WINDOW)
    ),
    "average-inside": PlainCase(
        *(PoolKernel, (RAGGED,), (SIGNED,), mean_inside),
        options=("average", *WINDOW, ((0, 0), (0, 0))),
    ),
    "norm": PlainCase(
        PointwiseKernel, (RAGGED,), (REAL,), np.array, activation="hardswish", scaled=True
    ),
    "norm-codes": PlainCase(PointwiseKernel, (WIDE,), (SIGNED,), np.array, scaled=True),
    "norm-bits": PlainCase(
        *(PointwiseKernel, (WIDE,), (REAL,), np.array),
        activation="relu",
        targets=(SIGNS, SIGNED_PAIRS),
        scaled=True,
    ),
    "mean": PlainCase(GlobalPoolKernel, (WIDE,), (SIGNED,), mean),
    "layer-norm": PlainCase(
        LayerNormKernel, (RAGGED,), (REAL,), layer_normed, (0.01,), "gelu", scaled=True
    ),
    "layer-norm-codes": PlainCase(
        LayerNormKernel, (WIDE,), (SIGNED,), layer_normed, (0.01,), scaled=True
    ),
    "layer-norm-signs": PlainCase(
        LayerNormKernel, (RAGGED,), (SIGNS,), layer_normed, (0.01,), scaled=True
    ),
    "response-norm": PlainCase(
        *(LocalResponseKernel, (RAGGED,), (REAL,), response_normed(*RESPONSE)), RESPONSE
    ),
    "response-norm-codes": PlainCase(
        *(LocalResponseKernel, (WIDE,), (NIBBLES,), response_normed(*RESPONSE)), RESPONSE, "silu"
    ),
    "magnitude": PlainCase(MagnitudeKernel, (RAGGED,), (REAL,), magnitude, targets=(REAL,)),
    "magnitude-wide": PlainCase(MagnitudeKernel, (WIDE,), (SIGNED,), magnitude, targets=(REAL,)),
}
