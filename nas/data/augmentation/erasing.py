"""Erasing: a random rectangle of an image filled with noise.

*Source:* Zhong et al., "Random Erasing Data Augmentation", AAAI 2020,
https://arxiv.org/abs/1708.04896, section 3: 2 to 40 % of the area, sides of 3:10 to 10:3, a random
value in 0..255 for each pixel.

Shape letters: B batch, C channels, H and W spatial size.
"""

import torch
from torch import Tensor

from nas.data.augmentation.boxes import random_boxes

AREA = (0.02, 0.4)
RATIO = (0.3, 1 / 0.3)


def erased(images: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Returns images ``(B, C, H, W)`` on 0..255, about ``share`` of them with a hidden part."""
    batch, _, height, width = images.shape
    boxes = random_boxes(batch, (height, width), AREA, RATIO, images.device, generator)
    drawn = torch.rand(batch, device=images.device, generator=generator)
    noise = torch.rand(images.shape, device=images.device, generator=generator) * 255
    hidden = boxes.covers(height, width) & (boxes.fits & (drawn < share))[:, None, None]
    return torch.where(hidden[:, None], noise, images)
