"""Transforms: what happens to training images, each its own, in one pass on the device.

Source: shift-crop and flip as in He et al., "Deep Residual Learning", CVPR 2016, section 4.2;
cutout of DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552.
Differs from the paper: sizes are shares of the image's side, so that they follow a searched
resolution.

Shape letters: B batch, C channels, H and W spatial size.
"""

import torch
from torch import Tensor

from nas.data.augmentation.erasing import erased
from nas.data.augmentation.policies import with_policy
from nas.data.augmentation.settings import Augmentation, Padding


def augment(
    images: Tensor, augmentation: Augmentation, generator: torch.Generator | None = None
) -> Tensor:
    """Returns augmented images of the same shape, ``(B, C, H, W)``, on 0..255; black is 0.

    Crops come before, as they change the shape, and mixing after, as it mixes labels.

    Args:
        generator: Where the draws come from, on the images' device; None takes torch's own.
    """
    batch, _, height, width = images.shape
    rows = moved(batch, height, augmentation, images.device, generator)
    columns = moved(batch, width, augmentation, images.device, generator)
    if augmentation.flip:
        mirror = torch.rand(batch, 1, device=images.device, generator=generator) < 0.5
        columns = torch.where(mirror, columns.flip(1), columns)
    if augmentation.flip or augmentation.shift:
        images = gathered(images, rows, columns, augmentation.padding)
    if augmentation.policy != "none":
        images = with_policy(images, augmentation, generator)
    if augmentation.cutout:
        hidden_rows = covered(batch, height, augmentation, images.device, generator)
        hidden_columns = covered(batch, width, augmentation, images.device, generator)
        hidden = hidden_rows[:, None, :, None] & hidden_columns[:, None, None, :]
        images = images.masked_fill(hidden, 0)
    if augmentation.erasing:
        images = erased(images, augmentation.erasing, generator)
    return images


def moved(
    batch: int,
    side: int,
    augmentation: Augmentation,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    """Returns for every image the source position of each row or column, ``(B, side)``."""
    positions = torch.arange(side, device=device).expand(batch, side)
    reach = min(round(augmentation.shift * side), side - 1)
    if reach == 0:
        return positions
    shape = (batch, 1)
    return positions + torch.randint(-reach, reach + 1, shape, device=device, generator=generator)


def gathered(images: Tensor, rows: Tensor, columns: Tensor, padding: Padding) -> Tensor:
    """Returns ``images[b, :, rows[b, i], columns[b, j]]``, padded where that is outside."""
    batch, channels, height, width = images.shape
    source = inside(rows, height)[:, :, None] * width + inside(columns, width)[:, None, :]
    source = source.flatten(1)[:, None, :].expand(batch, channels, height * width)
    moved_images = images.flatten(2).gather(2, source).reshape(images.shape)
    if padding == "reflect":
        return moved_images
    seen_rows = (rows >= 0) & (rows < height)
    seen_columns = (columns >= 0) & (columns < width)
    seen = seen_rows[:, None, :, None] & seen_columns[:, None, None, :]
    return moved_images.masked_fill(~seen, 0)


def inside(positions: Tensor, side: int) -> Tensor:
    """Returns positions mirrored at the first and last pixel, which are not repeated."""
    folded = positions.abs()
    return torch.where(folded > side - 1, 2 * (side - 1) - folded, folded)


def covered(
    batch: int,
    side: int,
    augmentation: Augmentation,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    """Returns for every image which rows or columns the cut-out square covers, ``(B, side)``."""
    size = round(augmentation.cutout * side)
    centre = torch.randint(side, (batch, 1), device=device, generator=generator)
    offset = torch.arange(side, device=device) - centre + size // 2
    return torch.logical_and(offset >= 0, offset < size)
