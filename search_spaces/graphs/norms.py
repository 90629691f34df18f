"""Operators that only normalise a map; a norm behind a convolution is the convolution's own.

Shape letters: C channels, H and W spatial size; the batch is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from search_spaces.graphs.activations import Activation, known_activation
from search_spaces.graphs.shapes import Shape, Weightless, only
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


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Each pixel's channels less their mean, over their deviation; then times gain, plus bias.

    *Source:* Ba et al., "Layer Normalization", https://arxiv.org/abs/1607.06450, over the channels
    alone as in Liu et al., "A ConvNet for the 2020s", CVPR 2022, https://arxiv.org/abs/2201.03545.

    Attributes:
        epsilon: Added to the variance.
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if not (isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon must be a number above 0, got {self.epsilon}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("layer_norm", inputs)

    def array_shapes(self, *inputs: Shape) -> Mapping[str, tuple[int, ...]]:
        """Factor and term: each ``(C,)``."""
        return dict.fromkeys(FOLDED_ARRAYS, (only("layer_norm", inputs)[0],))


@dataclass(frozen=True, slots=True)
class LocalResponseNorm(Weightless):
    """Each number over a power of the mean square of the channels around its own.

    ``x / (k + alpha / size * sum(x ** 2)) ** beta``; channels that are not there count as zeros.

    *Source:* Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks",
    NeurIPS 2012, section 3.3. *Differs from the paper:* alpha is divided by the size, as in torch
    and ONNX.

    Attributes:
        size: Channels of a window: its own in the middle.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"size must be odd, so that it has a middle, got {self.size}")
        for name in ("alpha", "beta", "k"):  # ONNX Runtime takes no zeros either
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a number above 0, got {value}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return only("local_response_norm", inputs)
