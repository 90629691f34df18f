"""Mixing: two images in one, and their labels by the share that each has of it.

*Source:* Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
https://arxiv.org/abs/1710.09412; Yun et al., "CutMix: Regularization Strategy to Train Strong
Classifiers with Localizable Features", ICCV 2019, https://arxiv.org/abs/1905.04899, section 3.2.
As in the authors' code, one share is drawn for a batch, and its images are mixed with each other.

Shape letters: B batch, C channels, H and W spatial size, K classes.
"""

from math import sqrt

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional

from nas.data.augmentation.settings import Augmentation


def mixed(
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    augmentation: Augmentation,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns inputs ``(B, C, H, W)`` mixed with each other, and shares of classes ``(B, K)``.

    Args:
        labels: Classes, ``(B,)``.
        generator: Where the draws come from, on the device of the inputs; None takes torch's own.
    """
    device = inputs.device
    partner = torch.randperm(len(inputs), device=device, generator=generator)
    which, place, *where = torch.rand(4, device=device, generator=generator).tolist()
    cuts = augmentation.cutmix > 0 and (augmentation.mixup == 0 or which < 0.5)
    alpha = augmentation.cutmix if cuts else augmentation.mixup
    share = float(betaincinv(alpha, alpha, place))  # the beta distribution's quantile
    if cuts:
        inputs, share = pasted(inputs, inputs[partner], share, (where[0], where[1]))
    else:
        inputs = torch.lerp(inputs[partner], inputs, share)
    shares = functional.one_hot(labels, num_classes).float()
    return inputs, torch.lerp(shares[partner], shares, share)


def pasted(
    inputs: Tensor, others: Tensor, share: float, centre: tuple[float, float]
) -> tuple[Tensor, float]:
    """Returns inputs with a rectangle of others in it, and the share of area that stays.

    Args:
        share: That shall stay; the rectangle loses what lies outside the image.
        centre: Of the rectangle, as shares of height and width.
    """
    height, width = inputs.shape[2:]
    side = sqrt(1 - share)
    top, bottom = ends(centre[0], side, height)
    left, right = ends(centre[1], side, width)
    inputs = inputs.clone(memory_format=torch.preserve_format)
    inputs[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return inputs, 1 - (bottom - top) * (right - left) / (height * width)


def ends(centre: float, share: float, side: int) -> tuple[int, int]:
    """Returns the first pixel of a rectangle's side, and the one after its last.

    >>> ends(0.5, 0.5, 8), ends(0.0, 0.5, 8)
    ((2, 6), (0, 2))
    """
    middle, half = int(centre * side), int(share * side) // 2
    return max(0, middle - half), min(side, middle + half)
