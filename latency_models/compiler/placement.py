"""Placement: where each map of a network lies.

Every map is given a home: a buffer of its own, or some channels of the buffer of the concatenation
that it goes into, so that concatenating, splitting and dropout move nothing. A buffer's border is
as wide as the widest padding among those who read it.
"""

from collections import defaultdict
from dataclasses import dataclass

from latency_models.compiler.memory import Memory
from latency_models.compiler.schedule import MOST_PLANAR_CHANNELS, InputCodes, Work, Works
from latency_models.kernels.view import View, elements_of
from search_spaces.graphs.graph import INPUT
from search_spaces.graphs.operators import AvgPool, Concat, Conv2d, Linear

GIVEN, RESULT = "<input>", "<output>"  # the tensors that a caller gives and gets


@dataclass(frozen=True, slots=True)
class Place:
    """Channels of a buffer: where a map lies. Buffers are named after the map that owns them."""

    buffer: str
    first_channel: int


class Placement:
    """Where the maps of one network lie.

    Attributes:
        planar_input: Whether the input stays NCHW.
    """

    def __init__(self, works: Works) -> None:
        self.works = works
        self.homes = concat_homes(works)
        self.planar_input = reads_planar(works)
        self.wide = {  # codes of the input, four bytes to a pixel
            work.targets[0] for work in works.works if isinstance(work.operator, InputCodes)
        }
        self.halos = self.find_halos()

    def place(self, name: str) -> Place:
        """The buffer in which a map lies."""
        first = 0
        while True:
            if name in self.works.views:
                name, offset = self.works.views[name]
                first += offset
            elif name in self.homes:
                home = self.homes[name]
                name, first = home.buffer, first + home.first_channel
            else:
                return Place(name, first)

    def view(self, name: str) -> View:
        """How a kernel sees a map."""
        place = self.place(name)
        if place.buffer == INPUT and self.planar_input:
            assert place.first_channel == 0
            return self.planar_view()
        known = self.works.maps[name]
        form = self.works.maps[place.buffer].form
        halo = self.halos.get(place.buffer, 0)
        return View(*known.shape, halo, self.pixel_stride(place.buffer), form=form)

    def pixel_stride(self, buffer: str) -> int:
        known = self.works.maps[buffer]
        return 4 if buffer in self.wide else elements_of(known.form, known.shape[0])

    def planar_view(self) -> View:
        return View(*self.works.graph.input_shape, halo=self.halos.get(INPUT, 0), planar=True)

    def find_halos(self) -> dict[str, int]:
        """The widest padding among those who read each buffer."""
        halos: dict[str, int] = defaultdict(int)
        for work in self.works.works:
            operator = work.operator
            pads = (0, 0)
            if isinstance(operator, Conv2d):
                pads = operator.pads
            elif isinstance(operator, AvgPool):
                pads = operator.padding
            for name in work.inputs[:1]:
                buffer = self.place(name).buffer
                halos[buffer] = max(halos[buffer], *pads)
        return halos

    def buffer_view(self, buffer: str) -> View:
        """The whole of a buffer."""
        if buffer == INPUT and self.planar_input:
            return self.planar_view()
        known = self.works.maps[buffer]
        halo = self.halos.get(buffer, 0)
        return View(*known.shape, halo, self.pixel_stride(buffer), form=known.form)

    def byte_offset(self, name: str) -> int:
        """Bytes from the first channel of a map's buffer to that of the map, at any pixel."""
        place = self.place(name)
        view = self.buffer_view(place.buffer)
        return view.offset_of(place.first_channel) * view.form.element_bytes

    def is_written_in(self, name: str, concat: str, first_channel: int) -> bool:
        """Whether a map is written into its place in a concatenation by its own kernel."""
        return self.homes.get(name) == Place(concat, first_channel)

    def add_part(self, concat: str, index: int, name: str, first_channel: int) -> str:
        """Makes a map of the channels of ``concat`` that hold a copy of ``name``."""
        part = f"{concat}<{index}>"
        self.works.maps[part] = self.works.maps[name]
        self.homes[part] = Place(concat, first_channel)
        return part

    def input_is_outside(self) -> bool:
        """Whether kernels read the caller's tensor itself."""
        return self.planar_input and self.halos.get(INPUT, 0) == 0

    def output_buffer(self) -> str | None:
        """The buffer that can be the output tensor itself, if there is one."""
        name = self.works.output
        same = self.place(name) == Place(name, 0) and self.works.maps[name].shape[1:] == (1, 1)
        return name if same and name != INPUT and not self.halos.get(name, 0) else None

    def memory_of(self, name: str) -> Memory:
        """The memory of the entry function that holds a map."""
        if name == GIVEN or (self.buffer_of(name) == INPUT and self.input_is_outside()):
            return "input"
        if name == RESULT or self.buffer_of(name) == self.output_buffer():
            return "output"
        return "workspace"

    def buffer_of(self, name: str) -> str:
        """The buffer of a map; the caller's tensors are their own."""
        return name if name in (GIVEN, RESULT) else self.place(name).buffer


def concat_homes(works: Works) -> dict[str, Place]:
    """Returns, for each map that its kernel can write into a concatenation at once, where."""
    written = {
        name
        for work in works.works
        if not isinstance(work.operator, InputCodes)  # four bytes to a pixel
        for name in work.targets
    }
    homes: dict[str, Place] = {}
    for work in works.works:
        if not isinstance(work.operator, Concat):
            continue
        (target,) = work.targets
        first = 0
        for name in work.inputs:
            part, whole = name, works.maps[name].shape
            while part in works.views and works.maps[works.views[part][0]].shape == whole:
                part = works.views[part][0]  # behind a dropout
            if part in written and part not in homes and part not in works.views:
                homes[part] = Place(target, first)
            first += whole[0]
    return homes


def reads_planar(works: Works) -> bool:
    """Whether everyone who reads the input reads single numbers, so that it can stay NCHW."""
    channels = works.graph.input_shape[0]
    if any(base == INPUT for base, _ in works.views.values()):
        return False
    return all(reads_single_numbers(work, channels) for work in works.works if INPUT in work.reads)


def reads_single_numbers(work: Work, channels: int) -> bool:
    operator = work.operator
    if work.residual == INPUT:
        return False
    if isinstance(operator, Linear):
        return True
    if not isinstance(operator, Conv2d) or channels > MOST_PLANAR_CHANNELS:
        return False
    return not operator.is_depthwise(channels)
