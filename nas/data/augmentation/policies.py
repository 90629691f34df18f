"""Policies: a few random changes of colours and shape to each image.

*Source:* Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
space", NeurIPS 2020, https://arxiv.org/abs/1909.13719, section 3; Müller and Hutter,
"TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021,
https://arxiv.org/abs/2103.10158, section 3, its wide ranges (table 6). Both choose among the same
14 changes, no change included.

*Differs from the papers:* moves are shares of the image's side, so that they follow a searched
resolution, in both policies up to 150 / 331 as in RandAugment's; what becomes uncovered is black.

Shape letters: B batch, C channels, H and W spatial size.
"""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from nas.data.augmentation import colours
from nas.data.augmentation.settings import Augmentation

LEVELS = 30
MOVE = 150 / 331

# Images (B, C, H, W), a strength in 0..1 and a sign, (B,) each, and whether ranges are wide.
Change = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


def with_policy(
    images: Tensor, augmentation: Augmentation, generator: torch.Generator | None = None
) -> Tensor:
    """Returns images ``(B, C, H, W)`` in whole numbers on 0..255, changed by their policy."""
    images = images.round().clamp(0, 255)
    if augmentation.policy == "trivialaugment":
        return changed(images, None, generator)
    for _ in range(augmentation.policy_ops):
        images = changed(images, augmentation.policy_magnitude / LEVELS, generator)
    return images


def changed(images: Tensor, strength: float | None, generator: torch.Generator | None) -> Tensor:
    """Returns each image after one random change.

    Args:
        strength: In 0..1; None draws one of 31 for each image, and takes the wide ranges.
    """
    batch, device = len(images), images.device
    which = torch.randint(len(CHANGES), (batch,), device=device, generator=generator)
    level = torch.randint(LEVELS + 1, (batch,), device=device, generator=generator) / LEVELS
    sign = 1.0 - 2 * torch.randint(2, (batch,), device=device, generator=generator)
    if strength is not None:
        level = torch.full_like(level, strength)
    result = images.clone()
    for number, change in enumerate(CHANGES.values()):
        rows = (which == number).nonzero()[:, 0]
        if len(rows):
            result[rows] = change(images[rows], level[rows], sign[rows], strength is None)
    return result


def same(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return images


def sheared_sideways(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    matrix = unit(level)
    matrix[:, 0, 1] = sign * level * (0.99 if wide else 0.3)
    return transformed(images, matrix)


def sheared_upright(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    matrix = unit(level)
    matrix[:, 1, 0] = sign * level * (0.99 if wide else 0.3)
    return transformed(images, matrix)


def moved_sideways(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    matrix = unit(level)
    matrix[:, 0, 2] = (sign * level * MOVE * images.shape[3]).trunc()
    return transformed(images, matrix)


def moved_upright(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    matrix = unit(level)
    matrix[:, 1, 2] = (sign * level * MOVE * images.shape[2]).trunc()
    return transformed(images, matrix)


def turned(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    """Turns about the middle, counter-clockwise where the sign is positive."""
    angle = sign * level * (135 if wide else 30) * pi / 180
    cosine, sine = angle.cos(), angle.sin()
    x, y = images.shape[3] / 2, images.shape[2] / 2
    rows = (
        torch.stack((cosine, -sine, x - cosine * x + sine * y), 1),
        torch.stack((sine, cosine, y - sine * x - cosine * y), 1),
    )
    return transformed(images, torch.stack(rows, 1))


def factor(level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return 1 + sign * level * (0.99 if wide else 0.9)


def bright(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.brightness(images, factor(level, sign, wide))


def coloured(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.colour(images, factor(level, sign, wide))


def contrasted(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.contrast(images, factor(level, sign, wide))


def sharp(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.sharpness(images, factor(level, sign, wide))


def posterized(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.posterized(images, 8 - (level * (6 if wide else 4)).round())


def solarized(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.solarized(images, 255 * (1 - level))


def stretched(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.stretched(images)


def equalized(images: Tensor, level: Tensor, sign: Tensor, wide: bool) -> Tensor:
    return colours.equalized(images)


CHANGES: dict[str, Change] = {
    "identity": same,
    "shear x": sheared_sideways,
    "shear y": sheared_upright,
    "translate x": moved_sideways,
    "translate y": moved_upright,
    "rotate": turned,
    "brightness": bright,
    "color": coloured,
    "contrast": contrasted,
    "sharpness": sharp,
    "posterize": posterized,
    "solarize": solarized,
    "autocontrast": stretched,
    "equalize": equalized,
}


def unit(level: Tensor) -> Tensor:
    """Returns a matrix for each strength, ``(B, 2, 3)``, that moves nothing."""
    return torch.eye(2, 3, device=level.device).repeat(len(level), 1, 1)


def transformed(images: Tensor, matrix: Tensor) -> Tensor:
    """Returns images whose pixel at x, y is the nearest to where ``matrix`` sends it.

    As Pillow's `Image.transform` with `AFFINE`: x and y are those of the pixel's middle, from the
    upper left corner; what lies outside is black.

    Args:
        matrix: ``(B, 2, 3)``.
    """
    channels, height, width = images.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) + 0.5,
        torch.arange(width, device=images.device) + 0.5,
        indexing="ij",
    )
    places = torch.stack((x, y, torch.ones_like(x))).reshape(3, -1)
    source = (matrix @ places).floor().long()
    column, row = source[:, 0], source[:, 1]
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1))[:, None]
    found = images.flatten(2).gather(2, index.expand(-1, channels, -1))
    return (found * seen[:, None]).reshape(images.shape)
