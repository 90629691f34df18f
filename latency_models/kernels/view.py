"""Views: where a feature map lies in flat memory, and in which form.

Maps are NHWC: the channels of a pixel are adjacent. A map may have a border (halo) that holds
zeros, written by whoever writes the map, so that convolutions need no padding of their own; and it
may be some of the channels of a wider map, so that concatenating and splitting move nothing. The
network's input is planar (NCHW) and stays so where kernels read single numbers.

A map is real (float32), or codes of one byte each, or planes: the bits of codes of 1 or 2 bits,
32 channels to a word; the words of a pixel's first bits come before those of its second bits.
Codes are unsigned as they lie in memory.

Offsets count elements of the form (numbers, bytes, words), from the first channel of the pixel
(0, 0), which is the address that kernels are given; the halo lies before it and around it.
"""

from dataclasses import dataclass
from typing import Literal

from search_spaces.graphs.formats import WORD
from search_spaces.graphs.operators import Quantize, Shape

Kind = Literal["real", "codes", "planes"]
ELEMENTS: dict[Kind, tuple[str, int]] = {  # TVM's name of what a map is made of, and its bytes
    "real": ("float32", 4),
    "codes": ("uint8", 1),
    "planes": ("uint32", 4),
}


@dataclass(frozen=True, slots=True)
class Form:
    """How the numbers of a map are written.

    Attributes:
        bits: Of one code; 32 for real numbers.
        zero: The code that stands for zero, as it lies in memory; signs have none, their border
            is -1, which is 0 in memory.
    """

    kind: Kind = "real"
    bits: int = 32
    zero: int = 0

    @property
    def element(self) -> str:
        """TVM's name of the type of an element."""
        return ELEMENTS[self.kind][0]

    @property
    def element_bytes(self) -> int:
        return ELEMENTS[self.kind][1]

    @property
    def highest(self) -> int:
        """The largest code, as it lies in memory."""
        return (1 << self.bits) - 1


REAL = Form()


def form_of(quantize: Quantize, packed: bool) -> Form:
    """Returns the form of a quantizer's codes: ``packed`` into planes, or bytes."""
    zero = 0 if quantize.bits == 1 else -quantize.lowest
    return Form("planes" if packed else "codes", quantize.bits, zero)


@dataclass(frozen=True, slots=True)
class View:
    """A map as a kernel sees it.

    Attributes:
        halo: Width of the border on each side.
        pixel_stride: Elements from one pixel to the next: all channels of the memory it lies in.
        planar: Whether each channel is a plane of its own; then ``pixel_stride`` is 1.
    """

    channels: int
    height: int
    width: int
    halo: int = 0
    pixel_stride: int = 0
    planar: bool = False
    form: Form = REAL

    def __post_init__(self) -> None:
        least = 1 if self.planar else elements_of(self.form, self.channels)
        object.__setattr__(self, "pixel_stride", self.pixel_stride or least)
        assert self.pixel_stride >= least, self
        assert not self.planar or self.form == REAL, self

    @property
    def shape(self) -> Shape:
        return self.channels, self.height, self.width

    @property
    def row_stride(self) -> int:
        return (self.width + 2 * self.halo) * self.pixel_stride

    @property
    def channel_stride(self) -> int:
        """Elements from one channel to the next; of packed maps, from one word to the next."""
        return (self.height + 2 * self.halo) * self.row_stride if self.planar else 1

    @property
    def words(self) -> int:
        """Words that the channels of one plane of a packed map take."""
        return -(-self.channels // WORD)

    @property
    def plane_stride(self) -> int:
        """Words from one plane of a pixel to the next."""
        return self.pixel_stride // self.form.bits

    @property
    def size(self) -> int:
        """Elements of the memory that it lies in, halo and other channels included."""
        planes = self.channels if self.planar else 1
        return planes * (self.height + 2 * self.halo) * self.row_stride

    @property
    def bytes(self) -> int:
        return self.size * self.form.element_bytes

    @property
    def origin(self) -> int:
        """Elements in that memory before the pixel (0, 0)."""
        return self.halo * (self.row_stride + self.pixel_stride)

    @property
    def dense(self) -> bool:
        """Whether the numbers of the map are adjacent, in one piece."""
        least = elements_of(self.form, self.channels)
        return self.halo == 0 and (self.planar or self.pixel_stride == least)

    def offset_of(self, channel: int) -> int:
        """Elements from a pixel's first channel to another; whole words where it is packed."""
        if self.form.kind != "planes":
            return channel * self.channel_stride
        assert channel % WORD == 0, (channel, self)
        return channel // WORD


def elements_of(form: Form, channels: int) -> int:
    """Elements of one pixel of so many channels."""
    return form.bits * -(-channels // WORD) if form.kind == "planes" else channels
