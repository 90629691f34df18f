"""Layer: what the network around a block asks of it."""

from dataclasses import dataclass
from math import floor, lcm

from search_spaces.graphs.activations import Activation
from search_spaces.graphs.precision import FP32, Precision


@dataclass(frozen=True, slots=True)
class Layer:
    """The place a block fills: its outside shape, and the compression genes of this layer.

    Attributes:
        out_channels: Channels the block gives.
        stride: 1, or 2 to halve height and width.
        activation: The network's non-linearity; a block whose paper fixes another one says so.
        prune_ratio: Share of the inner channels to leave out.
        precision: Number format of the block's convolutions.
        round_to: Hardware multiple that inner channels round to; 1 keeps a paper's widths.
    """

    out_channels: int
    stride: int = 1
    activation: Activation = "relu"
    prune_ratio: float = 0.0
    precision: Precision = FP32
    round_to: int = 1

    def __post_init__(self) -> None:
        if self.out_channels < 1 or self.stride < 1 or self.round_to < 1:
            raise ValueError(
                "out_channels, stride and round_to must be at least 1, got "
                f"{self.out_channels}, {self.stride}, {self.round_to}"
            )
        if not 0 <= self.prune_ratio < 1:
            raise ValueError(f"prune_ratio must be in [0, 1), got {self.prune_ratio}")

    def inner(self, channels: float, multiple_of: int = 1) -> int:
        """Returns how many of a block's inner ``channels`` are left after pruning.

        The count is the nearest multiple of ``round_to`` and ``multiple_of`` (ties go up), and at
        least one such multiple.

        >>> Layer(64, prune_ratio=0.5, round_to=8).inner(100)
        48
        >>> Layer(64).inner(58)
        58
        """
        step = lcm(self.round_to, multiple_of)
        return max(step, floor(channels * (1 - self.prune_ratio) / step + 0.5) * step)
