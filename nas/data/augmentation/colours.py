"""Colours: the changes of pixel values that policies choose from, each image by its own strength.

*Source:* Pillow's `ImageEnhance` and `ImageOps`, which the papers of policies use, in whole
numbers on 0..255. All take whole numbers and give them.

Shape letters: B batch, C channels, H and W spatial size.
"""

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (19595, 38470, 7471)  # of 65536, as Pillow makes colours grey


def grey(images: Tensor) -> Tensor:
    """Returns images as shades of grey, ``(B, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    parts = torch.tensor(LUMA, dtype=torch.float64, device=images.device)[:, None, None]
    return (((images * parts).sum(1, keepdim=True) + 32768) / 65536).floor().float()


def blended(plain: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Returns ``plain`` at factor 0, ``images`` at 1, and more of them beyond; factor ``(B,)``."""
    changed = plain + factor[:, None, None, None] * (images - plain)
    return changed.clamp(0, 255).floor()


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return blended(torch.zeros_like(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    middle = (grey(images).mean((1, 2, 3), keepdim=True) + 0.5).floor()
    return blended(middle.expand_as(images), images, factor)


def colour(images: Tensor, factor: Tensor) -> Tensor:
    return blended(grey(images).expand_as(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with an image smoothed by a 3x3 filter; the outermost pixels stay."""
    channels, height, width = images.shape[1:]
    if min(height, width) < 3:
        return images
    filters = torch.ones(channels, 1, 3, 3, device=images.device)
    filters[:, :, 1, 1] = 5
    smooth = images.clone()
    inner = functional.conv2d(images, filters, groups=channels) / 13
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return blended(smooth, images, factor)


def posterized(images: Tensor, bits: Tensor) -> Tensor:
    """Returns images of which only the upper ``bits`` ``(B,)`` are kept."""
    step = 2.0 ** (8 - bits)[:, None, None, None]
    return (images / step).floor() * step


def solarized(images: Tensor, threshold: Tensor) -> Tensor:
    """Returns images in which values from ``threshold`` ``(B,)`` on are inverted."""
    return torch.where(images < threshold[:, None, None, None], images, 255 - images)


def stretched(images: Tensor) -> Tensor:
    """Returns images of which each channel reaches from 0 to 255 (autocontrast)."""
    low = images.amin((2, 3), keepdim=True).double()
    span = images.amax((2, 3), keepdim=True) - low
    scale = torch.full_like(span, 255) / span.clamp(min=1)  # a number over a tensor rounds twice
    wide = (images * scale - low * scale).trunc().clamp(0, 255).float()
    return torch.where(span > 0, wide, images)


def equalized(images: Tensor) -> Tensor:
    """Returns images of which each channel has its values spread evenly, by its histogram."""
    batch, channels, height, width = images.shape
    values = images.long().reshape(batch * channels, height * width)
    counts = torch.zeros(len(values), 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    largest = counts.gather(1, values.amax(1, keepdim=True))
    step = (height * width - largest) // 255
    before = counts.cumsum(1) - counts
    table = (step // 2 + before) // step.clamp(min=1)
    spread = table.clamp(0, 255).gather(1, values)
    return torch.where(step > 0, spread, values).reshape(images.shape).float()
