"""Kernels: what every piece of code of ours says of itself, and what those with weights share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.cpu import VectorUnit
from latency_models.kernels.epilogue import Epilogue
from latency_models.kernels.view import View
from search_spaces.graphs.operators import Size, window_ends

TileT = TypeVar("TileT")


class Kernel(ABC):
    """A function of raw memory, as data: equal kernels are one piece of code."""

    __slots__ = ()

    @property
    @abstractmethod
    def arguments(self) -> tuple[str, ...]:
        """Names of what it is called with."""

    def instruction(self, unit: VectorUnit) -> str:
        """What does the work: the name of one of the unit's instructions, or nothing."""
        return ""


class UntiledKernel(Kernel):
    """A kernel that can be written in one way only."""

    __slots__ = ()

    @abstractmethod
    def function(self, unit: VectorUnit) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""


@dataclass(frozen=True, slots=True)
class MovingKernel(UntiledKernel):
    """A kernel that only moves what it reads."""

    source: View
    target: View

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "target")


@dataclass(frozen=True, slots=True)
class TiledKernel(Kernel, Generic[TileT]):
    """A kernel that moves a window of weights over a map; cut into tiles, ended by an epilogue."""

    source: View
    epilogue: Epilogue
    kernel_size: Size
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)

    weights_type: ClassVar[str] = "float32"  # TVM's name of what the weights are read as

    def __post_init__(self) -> None:
        sizes, counts = ((view.height, view.width) for view in (self.source, self.target))
        ends = window_ends(
            sizes, counts, self.kernel_size, self.stride, self.padding, self.dilation
        )
        assert max(*self.padding, *ends) <= self.source.halo, self

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("source", "weights", *self.epilogue.arguments)

    @property
    def target(self) -> View:
        """The first target: all have one shape."""
        return self.epilogue.targets[0]

    def types(self, unit: VectorUnit) -> dict[str, str]:
        """TVM's names of what its arguments point to."""
        types = {"source": self.source.form.element, "weights": self.weights_type}
        return types | self.epilogue.types(unit.lanes)

    @abstractmethod
    def pack(self, *arrays_unit_tile: Any, **named: Any) -> NDArray[Any]:  # noqa: ANN401
        """Returns the weights, and biases where they are its own, as the tile reads them, flat."""

    @abstractmethod
    def function(self, unit: VectorUnit, tile: TileT) -> Any:  # noqa: ANN401
        """Returns the kernel as a TVM function of ``arguments``."""

    @abstractmethod
    def default_tile(self, unit: VectorUnit) -> TileT:
        """Returns the tile that it is compiled with, unless tiles are timed."""

    @abstractmethod
    def candidate_tiles(self, unit: VectorUnit, limit: int) -> tuple[TileT, ...]:
        """Returns the ``limit`` tiles that are worth timing, the default one first."""

    @abstractmethod
    def padded_channels(self, unit: VectorUnit) -> int:
        """Output channels, rounded up to whole vectors."""

    @abstractmethod
    def places(self, unit: VectorUnit) -> NDArray[np.intp]:
        """For each output channel, its place among the padded ones."""
