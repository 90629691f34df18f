"""Operators that only normalise a map; a norm behind a convolution is the convolution's own.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.graphs.activations import Activation, known_activation
from search_spaces.graphs.shapes import Shape, only
from search_spaces.graphs.weighted import FOLDED_ARRAYS, NORM_ARRAYS

AloneNorm = Literal["batch", "folded"]


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch norm on its own, then an activation: where it stands before the convolution.

    *Source:* He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
    https://arxiv.org/abs/1603.05027, section 4 (pre-activation).

    Attributes:
        norm: "folded" is its deployed form, a factor and a term per channel.
    """

    norm: AloneNorm = "batch"
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        if self.norm not in get_args(AloneNorm):
            raise ValueError(f"norm must be one of {get_args(AloneNorm)}, got {self.norm!r}")
        known_activation(self.activation)

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("batch_norm", inputs)

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """The norm's arrays, or its factor and term: each ``(C,)``."""
        names = NORM_ARRAYS if self.norm == "batch" else FOLDED_ARRAYS
        return dict.fromkeys(names, (only("batch_norm", inputs)[0],))
