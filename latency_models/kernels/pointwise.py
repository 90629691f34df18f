"""Kernels that treat each number alone: copy, sum, gate, activation; and magnitudes."""

from dataclasses import dataclass
from typing import Literal

from latency_models.codegen.emitter import Expr, T, Vectors
from latency_models.kernels.plain import PlainKernel, Source
from search_spaces.graphs.operators import Size


@dataclass(frozen=True, slots=True)
class PointwiseKernel(PlainKernel):
    """The first source, or its sum with the second, or its product with a gate per channel.

    The epilogue's activation follows; a copy with targets of codes is a quantizer on its own.
    """

    kind: Literal["copy", "add", "scale"] = "copy"

    @property
    def map_size(self) -> Size:
        """Rows and columns to loop over; one long row where no row has a border."""
        maps = self.sources if self.kind == "add" else self.sources[:1]
        height, width = self.target.height, self.target.width
        if any(view.halo for view in (*maps, *self.epilogue.views)):
            return height, width
        return 1, height * width

    @property
    def pixels(self) -> int:
        """A few where most of what is loaded are thresholds; else one, in the order of memory."""
        return 4 if self.epilogue.by_threshold else 1

    def value(self, v: Vectors, sources: list[Source], y: Expr, x: Expr, channel: Expr) -> Expr:
        value = sources[0].at(y, x, channel)
        if self.kind == "add":
            return v.rounded(value + sources[1].at(y, x, channel))
        if self.kind == "scale":
            return v.rounded(value * sources[1].at(T.int32(0), T.int32(0), channel))
        return value


@dataclass(frozen=True, slots=True)
class MagnitudeKernel(PlainKernel):
    """Mean of |x| over the channels of each pixel: a map of one channel."""

    def value(self, v: Vectors, sources: list[Source], y: Expr, x: Expr, channel: Expr) -> Expr:
        channels = self.source.channels
        whole, rest = divmod(channels, v.lanes)
        total = v.register()
        v.put(total, v.constant(0))
        if whole:
            with T.serial(whole) as block:
                numbers = sources[0].at(y, x, block * v.lanes)
                v.put(total, v.get(total) + T.max(numbers, v.constant(0) - numbers))
        sums = [total[lane] for lane in range(v.lanes)]
        if rest:
            numbers = v.register()
            last = sources[0].at(y, x, T.int32(whole * v.lanes))
            v.put(numbers, T.max(last, v.constant(0) - last))
            sums += [numbers[lane] for lane in range(rest)]
        while len(sums) > 1:
            pairs = [sums[i] + sums[i + 1] for i in range(0, len(sums) - 1, 2)]
            sums = pairs + sums[len(pairs) * 2 :]
        return v.rounded(T.broadcast(sums[0] * T.float32(1 / channels), v.lanes))
