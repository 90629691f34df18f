"""Convolutions to time: layers of published networks, and sizes that fit no vector."""

from dataclasses import dataclass

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Size
from search_spaces.graphs.precision import FP32, Precision

WORD = 32
MANY = 64  # channels from which on a kernel should come near the machine's peak


@dataclass(frozen=True, slots=True)
class Shape:
    """One convolution: square kernel and map, padded to keep the map's size."""

    kind: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        groups = f" /{self.groups}" if 1 < self.groups < self.in_channels else ""
        stride = f" s{self.stride}" if self.stride > 1 else ""
        ends = f"{self.in_channels}->{self.out_channels}"
        return f"{ends} {self.kernel}x{self.kernel}{stride}{groups} @{self.size}"

    @property
    def depthwise(self) -> bool:
        return self.groups == self.in_channels

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def windows(self) -> tuple[Size, Size, Size, Size]:
        """Kernel, stride, padding and dilation."""
        (kernel, stride, padding), one = ((n, n) for n in self.sides), (1, 1)
        return kernel, stride, padding, one

    @property
    def sides(self) -> tuple[int, int, int]:
        return self.kernel, self.stride, self.padding

    @property
    def macs(self) -> int:
        products = self.kernel**2 * self.in_channels // self.groups
        return self.out_size**2 * self.out_channels * products

    @property
    def wide(self) -> bool:
        """Whether a group has enough channels to come near the machine's peak."""
        return min(self.in_channels, self.out_channels) // self.groups >= MANY

    def offers(self, precision: Precision) -> bool:
        """Whether networks have such a layer at a precision, and it has a kernel there.

        The first convolution reads pixels: it stays at 8 bits or real. Words of a packed map hold
        channels of one group.
        """
        if self.depthwise:
            return min(precision.weight_bits, precision.activation_bits) >= 8
        if precision.activation_bits >= 8:
            return True
        packed = precision.activation_bits <= 2
        whole = self.groups == 1 or self.in_channels // self.groups % WORD == 0
        return self.in_channels > 4 and (whole or not packed)

    def graph(self, precision: Precision = FP32) -> Graph:
        """The network of this one layer, with bias and ReLU left out."""
        net = GraphBuilder((self.in_channels, self.size, self.size))
        conv = Conv2d(
            self.out_channels,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            groups=self.groups,
            norm="none",
            bias=True,
            precision=precision,
        )
        net.add("conv", conv, net.input)
        return net.graph()


def depthwise(channels: int, size: int, kernel: int = 3, stride: int = 1) -> Shape:
    return Shape("depthwise", channels, channels, size, kernel, stride, channels)


SHAPES = (
    Shape("3x3", 64, 64, 56),
    Shape("3x3", 128, 128, 28),
    Shape("3x3", 256, 256, 14),
    Shape("3x3", 512, 512, 7),
    Shape("3x3", 30, 50, 28),
    Shape("3x3", 100, 100, 27),
    Shape("3x3 strided", 3, 32, 224, stride=2),
    Shape("3x3 strided", 64, 128, 56, stride=2),
    Shape("3x3 strided", 128, 256, 28, stride=2),
    Shape("3x3 strided", 256, 512, 14, stride=2),
    Shape("5x5", 48, 64, 28, kernel=5),
    Shape("5x5", 96, 96, 13, kernel=5),
    Shape("7x7 strided", 3, 64, 224, kernel=7, stride=2),
    Shape("1x1", 32, 96, 112, kernel=1),
    Shape("1x1", 144, 24, 56, kernel=1),
    Shape("1x1", 64, 256, 56, kernel=1),
    Shape("1x1", 128, 128, 28, kernel=1),
    Shape("1x1", 116, 116, 28, kernel=1),
    Shape("1x1", 96, 576, 14, kernel=1),
    Shape("1x1", 576, 96, 14, kernel=1),
    Shape("1x1", 512, 512, 14, kernel=1),
    Shape("1x1", 90, 70, 14, kernel=1),
    Shape("1x1", 960, 160, 7, kernel=1),
    Shape("1x1 strided", 64, 128, 56, kernel=1, stride=2),
    Shape("1x1 strided", 256, 512, 14, kernel=1, stride=2),
    Shape("grouped", 240, 240, 28, kernel=1, groups=3),
    Shape("grouped", 384, 96, 14, kernel=1, groups=8),
    Shape("grouped", 128, 128, 28, groups=4),
    depthwise(32, 112),
    depthwise(96, 112, stride=2),
    depthwise(144, 56),
    depthwise(192, 28),
    depthwise(116, 28),
    depthwise(576, 14),
    depthwise(120, 28, kernel=5),
    depthwise(960, 7),
)
