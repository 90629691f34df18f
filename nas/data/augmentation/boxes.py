"""Boxes: random rectangles of a given share of an image's area, each image its own.

*Source:* drawn as for crops in Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
https://arxiv.org/abs/1409.4842, section 6, with the ten tries that its public versions have.

Shape letters: B batch.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

TRIES = 10  # after which a box that fits is given up


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """A rectangle an image, in whole pixels; all of shape ``(B,)``.

    Attributes:
        fits: Whether one was found within the image; others are as large as the image.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    fits: Tensor

    def covers(self, height: int, width: int) -> Tensor:
        """Returns which pixels of images of this size the boxes cover, ``(B, height, width)``."""
        rows = torch.arange(height, device=self.top.device)
        columns = torch.arange(width, device=self.top.device)
        inside_rows = between(rows, self.top, self.height)
        inside_columns = between(columns, self.left, self.width)
        return inside_rows[:, :, None] & inside_columns[:, None, :]


def between(positions: Tensor, start: Tensor, length: Tensor) -> Tensor:
    offset = positions[None, :] - start[:, None]
    return (offset >= 0) & (offset < length[:, None])


def random_boxes(
    batch: int,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    device: torch.device,
    generator: torch.Generator | None,
) -> Boxes:
    """Returns boxes within images of ``size`` (height, width).

    Args:
        area: Least and largest share of the image's area, drawn evenly.
        ratio: Least and largest width by height, drawn evenly by its logarithm.
        generator: Where the draws come from, on ``device``; None takes torch's own.
    """
    height, width = size

    def even(low: float, high: float, rows: int) -> Tensor:
        drawn = torch.rand(rows, batch, device=device, generator=generator)
        return low + (high - low) * drawn

    pixels = height * width * even(*area, TRIES)
    shape = even(log(ratio[0]), log(ratio[1]), TRIES).exp()
    widths, heights = (pixels * shape).sqrt().round(), (pixels / shape).sqrt().round()
    fit = (widths <= width) & (heights <= height) & (widths >= 1) & (heights >= 1)
    fits, first = fit.any(0), fit.float().argmax(0, keepdim=True)
    tall = torch.where(fits, heights.gather(0, first)[0], height)
    wide = torch.where(fits, widths.gather(0, first)[0], width)
    # A draw may round up to 1.
    top = (even(0, 1, 1)[0] * (height - tall + 1)).floor().minimum(height - tall)
    left = (even(0, 1, 1)[0] * (width - wide + 1)).floor().minimum(width - wide)
    return Boxes(top.long(), left.long(), tall.long(), wide.long(), fits)
