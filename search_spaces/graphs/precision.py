"""Precision: how a node's weights, and the maps it reads, are coded.

Weights are

* real: float32;
* integer codes times one step per output channel, symmetric about zero (learned steps, Esser et
  al., "Learned Step Size Quantization", ICLR 2020, https://arxiv.org/abs/1902.08153);
* signs times one magnitude per output channel, the mean of |W| (Rastegari et al., "XNOR-Net",
  ECCV 2016, https://arxiv.org/abs/1603.05279, sections 3.1 and 3.2).

Maps are real, integer codes times one step, or signs.

The names follow the literature: w4a8 is 4-bit weights with 8-bit activations; bwn has binary
weights only, xnor both; xnor_k is xnor with the map K of |x| of that paper's equation 11.

Beside that, real weights may be sparse: arrays stay dense, with zeros for pruned weights and equal
numbers for shared ones, and a `Sparsity` bounds them, so that a kernel may store what is kept.
"""

from dataclasses import dataclass
from typing import Literal

from search_spaces.graphs.errors import UserError

Coding = Literal["real", "integer", "sign"]


@dataclass(frozen=True, slots=True)
class Precision:
    """The number format of one node.

    Attributes:
        name: The name in files and genes.
        weight_bits: Bits that one stored weight takes.
        activation_bits: Bits of one element of the map that the node reads.
        magnitude_map: Whether the result is scaled at each pixel by the mean magnitude of what
            the window reads (K in XNOR-Net).
    """

    name: str
    weight_bits: int
    activation_bits: int
    magnitude_map: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def weights(self) -> Coding:
        return coding(self.weight_bits)

    @property
    def activations(self) -> Coding:
        return coding(self.activation_bits)


def coding(bits: int) -> Coding:
    """Returns how numbers of so many bits are coded."""
    return "real" if bits == 32 else "sign" if bits == 1 else "integer"


LARGEST_CODEBOOK = 8  # bits of a place in it
VALUE_BITS = (*range(1, LARGEST_CODEBOOK + 1), 32)
PLACE_BITS = 16  # of where a kept weight is, as the kernel stores it


@dataclass(frozen=True, slots=True)
class Sparsity:
    """What bounds the weights of a linear layer.

    Attributes:
        density: Share of the weights that may differ from zero.
        bits: Of a kept weight: there are at most ``2 ** bits`` different ones; 32 for any.
    """

    density: float
    bits: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.density <= 1:
            raise ValueError(f"density must be from 0 to 1, got {self.density}")
        if self.bits not in VALUE_BITS:
            raise ValueError(f"bits of a kept weight must be 1 to 8 or 32, got {self.bits}")

    def kept(self, size: int) -> int:
        """How many of ``size`` weights may differ from zero."""
        return int(self.density * size + 0.5)

    def stored_bytes(self, size: int) -> int:
        """Bytes of ``size`` weights: of each that is kept its value and place, and the values."""
        codebook = 4 << self.bits if self.bits < 32 else 0
        return -(-self.kept(size) * (self.bits + PLACE_BITS) // 8) + codebook


FP32 = Precision("fp32", 32, 32)
W8A8 = Precision("w8a8", 8, 8)

PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        FP32,
        W8A8,
        Precision("w4a8", 4, 8),
        Precision("w4a4", 4, 4),
        Precision("w2a2", 2, 2),
        Precision("w1a2", 1, 2),
        Precision("bwn", 1, 32),
        Precision("xnor", 1, 1),
        Precision("xnor_k", 1, 1, magnitude_map=True),
    )
}
DEPTHWISE_PRECISIONS = (FP32, W8A8)  # a depthwise layer has no channels to pack below 8 bits
BITS = (1, 2, 4, 8)  # of a coded map


def get_precision(name: str) -> Precision:
    """Returns the precision called ``name``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name not in PRECISIONS:
        raise UserError(f"unknown precision {name!r}; known precisions: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def depthwise_precision(precision: Precision) -> Precision:
    """Returns what a depthwise layer takes in a block of ``precision``.

    8 bits where the block's maps are coded, float32 where they are real.
    """
    return FP32 if precision.activations == "real" else W8A8


def grouped_precision(precision: Precision, channels: int) -> Precision:
    """Returns what a convolution takes whose groups read ``channels`` channels each.

    Below 4 bits, channels are packed into words of 32; groups of other sizes take 8 bits.
    """
    return W8A8 if precision.activation_bits < 4 and channels % 32 else precision
