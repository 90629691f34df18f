"""What random kernels are made of, for hypothesis."""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from latency_models.kernels.view import REAL, Form, View
from search_spaces.graphs.activations import ACTIVATIONS
from search_spaces.graphs.operators import Shape, Size, window_size
from tests.latency_models.parts.processors import RUNNABLE_CPUS

MANY = "HWNAS_MANY_EXAMPLES"
cpus = st.sampled_from(RUNNABLE_CPUS)
activations = st.sampled_from(tuple(ACTIVATIONS))
seeds = st.integers(0, 1000)
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))


def examples(count: int) -> settings:
    """So many random kernels with ``make test-slow``, else a third: each is compiled."""
    return settings(
        max_examples=count if MANY in os.environ else -(-count // 3),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """Windows that fit a map."""

    size: Size
    kernel_size: Size
    stride: Size
    padding: Size
    dilation: Size

    @property
    def out_size(self) -> Size:
        return window_size(self.size, self.kernel_size, self.stride, self.padding, self.dilation)

    @property
    def fields(self) -> tuple[Size, Size, Size, Size]:
        """As kernels take them."""
        return self.kernel_size, self.stride, self.padding, self.dilation


def pairs(most: int) -> st.SearchStrategy[Size]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


@st.composite
def geometries(draw: st.DrawFn, most: int = 3, spare: int = 12) -> Geometry:
    kernel, stride, dilation = draw(pairs(most)), draw(pairs(3)), draw(pairs(2))
    least = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    height, width = (draw(st.integers(size, size + spare)) for size in least)
    return Geometry((height, width), kernel, stride, draw(paddings), dilation)


@st.composite
def views(draw: st.DrawFn, shape: Shape, least_halo: int = 0, form: Form = REAL) -> View:
    """A view of ``shape``, perhaps among other channels, with some border."""
    halo = draw(st.integers(least_halo, least_halo + 2))
    return View(*shape, halo, shape[0] + draw(st.integers(0, 9)), form=form)
