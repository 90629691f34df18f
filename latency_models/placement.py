"""Placement: where each map of a network lies.

Every map is given a home: a buffer of its own, or some channels of the buffer of the concatenation
that it goes into, so that concatenating, splitting and dropout move nothing. A buffer's zero
border is as wide as the widest padding among those who read it.
"""

from collections import defaultdict
from dataclasses import dataclass

from latency_models.kernels.view import View
from latency_models.machine_code import Memory
from search_spaces.fusion import FusedKernel
from search_spaces.graph import INPUT, Graph
from search_spaces.operators import (
    Activation,
    Add,
    AvgPool,
    ChannelSplit,
    Concat,
    Conv2d,
    Dropout,
    Linear,
    Scale,
)

MOST_PLANAR_CHANNELS = 4  # an input of more channels is worth turning into NHWC
GIVEN, RESULT = "<input>", "<output>"  # the tensors that a caller gives and gets


@dataclass(frozen=True, slots=True)
class Place:
    """Channels of a buffer: where a map lies. Buffers are named after the map that owns them."""

    buffer: str
    first_channel: int


class Placement:
    """Where the maps of one graph lie.

    Attributes:
        pushed: Activations of concatenations that moved into the kernels of their parts.
        planar_input: Whether the input stays NCHW.
    """

    def __init__(self, graph: Graph, kernels: tuple[FusedKernel, ...]) -> None:
        self.graph = graph
        self.shapes = dict(graph.shapes)
        self.pushed: dict[str, Activation] = {}
        self.homes = concat_homes(graph, kernels, self.pushed)
        self.planar_input = reads_planar(graph, kernels)
        self.halos = self.find_halos(kernels)

    def root(self, name: str) -> tuple[str, int]:
        """The computed map that ``name`` is (part of), and the first of its channels."""
        first = 0
        while name != INPUT and name in self.graph.shapes:
            node = self.graph.node(name)
            if isinstance(node.operator, ChannelSplit):
                first += node.operator.start
            elif not isinstance(node.operator, Dropout):
                break
            name = node.inputs[0]
        return name, first

    def place(self, name: str) -> Place:
        """The buffer in which a map lies."""
        name, first = self.root(name)
        while name in self.homes:
            home = self.homes[name]
            name, first = home.buffer, first + home.first_channel
        return Place(name, first)

    def view(self, name: str) -> View:
        """How a kernel sees a map."""
        place = self.place(name)
        if place.buffer == INPUT and self.planar_input:
            assert place.first_channel == 0
            return self.planar_view()
        channels, height, width = self.shapes[name]
        buffer_channels = self.shapes[place.buffer][0]
        return View(channels, height, width, self.halos.get(place.buffer, 0), buffer_channels)

    def planar_view(self) -> View:
        return View(*self.graph.input_shape, halo=self.halos.get(INPUT, 0), planar=True)

    def find_halos(self, kernels: tuple[FusedKernel, ...]) -> dict[str, int]:
        """The widest padding among those who read each buffer."""
        halos: dict[str, int] = defaultdict(int)
        for kernel in kernels:
            operator = kernel.operator
            pads = (0, 0)
            if isinstance(operator, Conv2d):
                pads = operator.pads
            elif isinstance(operator, AvgPool):
                pads = operator.padding
            for name in kernel.inputs:
                buffer = self.place(name).buffer
                halos[buffer] = max(halos[buffer], *pads)
        return halos

    def buffer_view(self, buffer: str) -> View:
        """The whole of a buffer."""
        if buffer == INPUT and self.planar_input:
            return self.planar_view()
        return View(*self.shapes[buffer], halo=self.halos.get(buffer, 0))

    def is_written_in(self, name: str, concat: str, first_channel: int) -> bool:
        """Whether a map is written into its place in a concatenation by its own kernel."""
        root, _ = self.root(name)
        in_place = self.homes.get(root) == Place(concat, first_channel)
        return in_place and self.shapes[root] == self.shapes[name]

    def add_part(self, concat: str, index: int, name: str, first_channel: int) -> str:
        """Makes a map of the channels of ``concat`` that hold a copy of ``name``."""
        part = f"{concat}<{index}>"
        self.shapes[part] = self.shapes[name]
        self.homes[part] = Place(concat, first_channel)
        return part

    def input_is_outside(self) -> bool:
        """Whether kernels read the caller's tensor itself."""
        return self.planar_input and self.halos.get(INPUT, 0) == 0

    def output_buffer(self) -> str | None:
        """The buffer that can be the output tensor itself, if there is one."""
        name = self.graph.output.name
        place = self.place(name)
        same = place == Place(name, 0) and self.shapes[name][1:] == (1, 1)
        return name if same and not self.halos.get(name, 0) else None

    def memory_of(self, name: str) -> Memory:
        """The memory of the entry function that holds a map."""
        if name == GIVEN or (self.buffer_of(name) == INPUT and self.input_is_outside()):
            return "input"
        if name == RESULT or self.buffer_of(name) == self.output_buffer():
            return "output"
        return "workspace"

    def buffer_of(self, name: str) -> str:
        """The buffer of a map; the caller's tensors are their own."""
        return name if name.startswith("<") else self.place(name).buffer


def concat_homes(
    graph: Graph, kernels: tuple[FusedKernel, ...], pushed: dict[str, Activation]
) -> dict[str, Place]:
    """Returns, for each map that can be written into a concatenation at once, where.

    A concatenation's own activation moves into such a part's kernel, and into ``pushed``.
    """
    by_output = {kernel.output: kernel for kernel in kernels}
    homes: dict[str, Place] = {}
    for kernel in kernels:
        if not isinstance(kernel.operator, Concat):
            continue
        first = 0
        for name in kernel.inputs:
            part = name
            alone = len(graph.consumers[name]) == 1
            while part != INPUT and isinstance(graph.node(part).operator, Dropout):
                part = graph.node(part).inputs[0]
                alone = alone and len(graph.consumers[part]) == 1
            maker = by_output.get(part)
            if maker is not None and part not in homes:
                if kernel.activation == "none":
                    homes[part] = Place(kernel.output, first)
                elif (
                    alone
                    and maker.activation == "none"
                    and isinstance(maker.operator, Conv2d | Linear | Add | Scale)
                ):
                    homes[part] = Place(kernel.output, first)
                    pushed[part] = kernel.activation
            first += graph.shapes[name][0]
    return homes


def reads_planar(graph: Graph, kernels: tuple[FusedKernel, ...]) -> bool:
    """Whether everyone who reads the input reads single numbers, so that it can stay NCHW."""
    for kernel in kernels:
        if kernel.residual == INPUT:
            return False
        if INPUT not in kernel.inputs:
            continue
        operator = kernel.operator
        channels = graph.input_shape[0]
        if isinstance(operator, Linear):
            continue
        if not isinstance(operator, Conv2d) or channels > MOST_PLANAR_CHANNELS:
            return False
        if operator.groups == channels == operator.out_channels and channels > 1:
            return False
    views = (ChannelSplit, Dropout)
    return not any(INPUT in n.inputs and isinstance(n.operator, views) for n in graph.nodes)
