"""Placement: where each map of a network lies.

Every map is given a home: a buffer of its own, or some channels of the buffer of the concatenation
that it goes into, so that concatenating, splitting and dropout move nothing. A buffer's border is
as wide as the widest padding among those who read it, on all sides.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

from latency_models.compiler.memory import Memory
from latency_models.compiler.schedule import (
    INPUT_MAP,
    MOST_PLANAR_CHANNELS,
    InputCodes,
    MapKey,
    Schedule,
    Work,
)
from latency_models.kernels.view import View, elements_of
from search_spaces.graphs.operators import AvgPool, Concat, Conv2d, Linear, window_ends

GIVEN, RESULT = MapKey("<input>"), MapKey("<output>")  # the tensors that a caller gives and gets


@dataclass(frozen=True, slots=True)
class MapPlace:
    """Channels of a buffer: where a map lies. A buffer is called like the map that owns it."""

    buffer: MapKey
    first_channel: int


class Placement:
    """Where the maps of one network lie.

    Attributes:
        planar_input: Whether the input stays NCHW.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.homes = concat_homes(schedule)
        self.planar_input = reads_planar(schedule)
        self.wide = {  # codes of the input, four bytes to a pixel
            work.targets[0] for work in schedule.works if isinstance(work.operator, InputCodes)
        }
        self.halos = self.find_halos()

    def place(self, name: MapKey) -> MapPlace:
        """The buffer in which a map lies."""
        first = 0
        while True:
            if name in self.schedule.views:
                name, offset = self.schedule.views[name]
                first += offset
            elif name in self.homes:
                home = self.homes[name]
                name, first = home.buffer, first + home.first_channel
            else:
                return MapPlace(name, first)

    def view(self, name: MapKey) -> View:
        """How a kernel sees a map."""
        place = self.place(name)
        if place.buffer == INPUT_MAP and self.planar_input:
            assert place.first_channel == 0
            return self.planar_view()
        known = self.schedule.maps[name]
        form = self.schedule.maps[place.buffer].form
        halo = self.halos.get(place.buffer, 0)
        return View(*known.shape, halo, self.pixel_stride(place.buffer), form=form)

    def pixel_stride(self, buffer: MapKey) -> int:
        known = self.schedule.maps[buffer]
        return 4 if buffer in self.wide else elements_of(known.form, known.shape[0])

    def planar_view(self) -> View:
        shape, halo = self.schedule.graph.input_shape, self.halos.get(INPUT_MAP, 0)
        return View(*shape, halo=halo, planar=True)

    def find_halos(self) -> dict[MapKey, int]:
        """The widest padding among those who read each buffer."""
        halos: dict[MapKey, int] = defaultdict(int)
        for work in self.schedule.works:
            for name in work.inputs[:1]:
                buffer = self.place(name).buffer
                halos[buffer] = max(halos[buffer], self.reach(work))
        return halos

    def reach(self, work: Work) -> int:
        """How far beyond its map a work reads, on any side; a maximum reads nothing there."""
        operator = work.operator
        if not isinstance(operator, Conv2d | AvgPool):
            return 0
        pads = operator.pads if isinstance(operator, Conv2d) else operator.padding
        dilation = operator.dilation if isinstance(operator, Conv2d) else (1, 1)
        maps = self.schedule.maps
        (_, *size), (_, *count) = (maps[key].shape for key in (work.inputs[0], work.targets[0]))
        sizes, counts = (size[0], size[1]), (count[0], count[1])
        ends = window_ends(sizes, counts, operator.kernel_size, operator.stride, pads, dilation)
        return max(*pads, *ends)

    def buffer_view(self, buffer: MapKey) -> View:
        """The whole of a buffer."""
        if buffer == INPUT_MAP and self.planar_input:
            return self.planar_view()
        known = self.schedule.maps[buffer]
        halo = self.halos.get(buffer, 0)
        return View(*known.shape, halo, self.pixel_stride(buffer), form=known.form)

    def byte_offset(self, name: MapKey) -> int:
        """Bytes from the first channel of a map's buffer to that of the map, at any pixel."""
        place = self.place(name)
        view = self.buffer_view(place.buffer)
        return view.offset_of(place.first_channel) * view.form.element_bytes

    def is_written_in(self, name: MapKey, concat: MapKey, first_channel: int) -> bool:
        """Whether a map is written into its place in a concatenation by its own kernel."""
        return self.homes.get(name) == MapPlace(concat, first_channel)

    def add_part(self, concat: MapKey, index: int, name: MapKey, first_channel: int) -> MapKey:
        """Makes a map of the channels of ``concat`` that hold a copy of ``name``."""
        part = replace(concat, part=index)
        self.schedule.maps[part] = self.schedule.maps[name]
        self.homes[part] = MapPlace(concat, first_channel)
        return part

    def input_is_outside(self) -> bool:
        """Whether kernels read the caller's tensor itself."""
        return self.planar_input and self.halos.get(INPUT_MAP, 0) == 0

    def output_buffer(self) -> MapKey | None:
        """The buffer that can be the output tensor itself, if there is one."""
        name = self.schedule.output
        one_pixel = self.schedule.maps[name].shape[1:] == (1, 1)
        same = one_pixel and self.place(name) == MapPlace(name, 0)
        return name if same and name != INPUT_MAP and not self.halos.get(name, 0) else None

    def memory_of(self, name: MapKey) -> Memory:
        """The memory of the entry function that holds a map."""
        if name == GIVEN or (self.buffer_of(name) == INPUT_MAP and self.input_is_outside()):
            return "input"
        if name == RESULT or self.buffer_of(name) == self.output_buffer():
            return "output"
        return "workspace"

    def buffer_of(self, name: MapKey) -> MapKey:
        """The buffer of a map; the caller's tensors are their own."""
        return name if name in (GIVEN, RESULT) else self.place(name).buffer


def concat_homes(schedule: Schedule) -> dict[MapKey, MapPlace]:
    """Returns, for each map that its kernel can write into a concatenation at once, where."""
    written = {
        name
        for work in schedule.works
        if not isinstance(work.operator, InputCodes)  # four bytes to a pixel
        for name in work.targets
    }
    homes: dict[MapKey, MapPlace] = {}
    for work in schedule.works:
        if not isinstance(work.operator, Concat):
            continue
        (target,) = work.targets
        first = 0
        for name in work.inputs:
            part, whole = name, schedule.maps[name].shape
            while part in schedule.views and schedule.maps[schedule.views[part][0]].shape == whole:
                part = schedule.views[part][0]  # behind a dropout
            if part in written and part not in homes and part not in schedule.views:
                homes[part] = MapPlace(target, first)
            first += whole[0]
    return homes


def reads_planar(schedule: Schedule) -> bool:
    """Whether everyone who reads the input reads single numbers, so that it can stay NCHW."""
    channels = schedule.graph.input_shape[0]
    if any(base == INPUT_MAP for base, _ in schedule.views.values()):
        return False
    return all(
        reads_single_numbers(work, channels) for work in schedule.works if INPUT_MAP in work.reads
    )


def reads_single_numbers(work: Work, channels: int) -> bool:
    operator = work.operator
    if work.residual == INPUT_MAP:
        return False
    if isinstance(operator, Linear):
        return True
    if not isinstance(operator, Conv2d) or channels > MOST_PLANAR_CHANNELS:
        return False
    return not operator.is_depthwise(channels)
