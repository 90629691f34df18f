"""Precision: how many bits the weights and the activations of a node have.

Source: the names follow the literature: w4a8 is 4-bit weights with 8-bit activations; bwn and xnor
are Rastegari et al., "XNOR-Net", ECCV 2016, https://arxiv.org/abs/1603.05279.
"""

from dataclasses import dataclass

from search_spaces.errors import UserError


@dataclass(frozen=True, slots=True)
class Precision:
    """The number format of one node.

    Attributes:
        name: The name in files and genes.
        weight_bits: Bits that one stored weight takes.
        activation_bits: Bits of one element of the map that the node reads.
    """

    name: str
    weight_bits: int
    activation_bits: int

    def __str__(self) -> str:
        return self.name


FP32 = Precision("fp32", 32, 32)

PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        FP32,
        Precision("w8a8", 8, 8),
        Precision("w4a8", 4, 8),
        Precision("w4a4", 4, 4),
        Precision("w2a2", 2, 2),
        Precision("w1a2", 1, 2),
        Precision("bwn", 1, 32),
        Precision("xnor", 1, 1),
    )
}


def get_precision(name: str) -> Precision:
    """Returns the precision called ``name``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name not in PRECISIONS:
        raise UserError(f"unknown precision {name!r}; known precisions: {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
