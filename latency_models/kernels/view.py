"""Views: where a feature map lies in flat memory.

Maps are NHWC: the channels of a pixel are adjacent. A map may have a zero border (halo), written
by whoever writes the map, so that convolutions need no padding of their own; and it may be some
of the channels of a wider map, so that concatenating and splitting move nothing. The network's
input is planar (NCHW) and stays so: kernels that read single numbers do not mind.

Offsets are in float32 numbers, from the first channel of the pixel (0, 0), which is the address
that kernels are given; the halo lies before it and around it.
"""

from dataclasses import dataclass

from search_spaces.operators import Shape


@dataclass(frozen=True, slots=True)
class View:
    """A map as a kernel sees it.

    Attributes:
        halo: Width of the zero border on each side.
        pixel_stride: Numbers from one pixel to the next: the channels of the memory it lies in.
        planar: Whether each channel is a plane of its own; then ``pixel_stride`` is 1.
    """

    channels: int
    height: int
    width: int
    halo: int = 0
    pixel_stride: int = 0
    planar: bool = False

    def __post_init__(self) -> None:
        stride = 1 if self.planar else self.channels
        object.__setattr__(self, "pixel_stride", self.pixel_stride or stride)
        assert self.pixel_stride >= stride, self

    @property
    def shape(self) -> Shape:
        return self.channels, self.height, self.width

    @property
    def row_stride(self) -> int:
        return (self.width + 2 * self.halo) * self.pixel_stride

    @property
    def channel_stride(self) -> int:
        return (self.height + 2 * self.halo) * self.row_stride if self.planar else 1

    @property
    def size(self) -> int:
        """Numbers of the memory that it lies in, halo and other channels included."""
        planes = self.channels if self.planar else 1
        return planes * (self.height + 2 * self.halo) * self.row_stride

    @property
    def origin(self) -> int:
        """Numbers in that memory before the pixel (0, 0)."""
        return self.halo * (self.row_stride + self.pixel_stride)

    @property
    def dense(self) -> bool:
        """Whether the numbers of the map are adjacent, in one piece."""
        return self.halo == 0 and (self.planar or self.pixel_stride == self.channels)
