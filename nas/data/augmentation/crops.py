"""Crops: a random part of each image, resized to the network's input with antialiasing.

*Source:* Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
https://arxiv.org/abs/1409.4842, section 6: an even share of the area, sides of 3:4 to 4:3. The
filter is the triangle of torch's and Pillow's bilinear resizing, as two products of matrices, so
that each image has a crop of its own in one pass.

*Differs from the paper:* where no such crop fits, the whole image is taken.

Shape letters: B batch, C channels, H and W spatial size, S a side of the result.
"""

import torch
from torch import Tensor

from nas.data.augmentation.boxes import Boxes, random_boxes

RATIO = (3 / 4, 4 / 3)


def random_resized_crop(
    images: Tensor,
    size: tuple[int, int],
    least_area: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns parts of images ``(B, C, H, W)``, resized to ``size`` (height, width)."""
    batch, _, height, width = images.shape
    area = (least_area, 1.0)
    boxes = random_boxes(batch, (height, width), area, RATIO, images.device, generator)
    return resized(images, boxes, size)


def resized(images: Tensor, boxes: Boxes, size: tuple[int, int]) -> Tensor:
    """Returns what is in the boxes, resized to ``size``."""
    rows = weights(boxes.top, boxes.height, images.shape[2], size[0])
    columns = weights(boxes.left, boxes.width, images.shape[3], size[1])
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def weights(start: Tensor, length: Tensor, side: int, size: int) -> Tensor:
    """Returns what each pixel of a result is a mean of, ``(B, S, side)``.

    Args:
        start: First of the pixels that are seen, ``(B,)``.
        length: How many are seen, ``(B,)``.
        side: How many there are.
        size: How many the result has.
    """
    source = torch.arange(side, device=start.device)
    scale = (length / size)[:, None, None]
    centre = (
        start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    )
    distance = (source + 0.5 - centre).abs() / scale.clamp(min=1)
    seen = (source >= start[:, None]) & (source < (start + length)[:, None])
    height = (1 - distance).clamp(min=0) * seen[:, None, :]
    return height / height.sum(2, keepdim=True)
