"""Loss: how far outputs are from labels, which may be mixed and weighted, and from a teacher.

*Source:* of distillation, Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
Network", NIPS 2014 Deep Learning Workshop, https://arxiv.org/abs/1503.02531, section 2; of
smoothing, Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
https://arxiv.org/abs/1512.00567, section 7.

*Differs from the papers:* the distance from a teacher is the KL divergence, which differs from its
cross-entropy by what no gradient sees, and is zero where both networks agree.

An image counts by the weight of its class, one of mixed images by that of each part, in both
losses; the mean is over images, so a batch without rare ones counts for less.

Shape letters: B batch, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional


def label_loss(
    outputs: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None = None
) -> Tensor:
    """Returns the mean cross-entropy of outputs ``(B, K)``.

    Args:
        labels: Classes ``(B,)``, or for mixed images the share of each class ``(B, K)``.
        smoothing: Share of each label that is spread over all classes.
        weights: Of each class, ``(K,)``; None where all count 1.
    """
    if weights is None and labels.dim() == 1:
        return functional.cross_entropy(outputs.float(), labels, label_smoothing=smoothing)
    classes = outputs.shape[1]
    wanted = labels if labels.dim() == 2 else functional.one_hot(labels, classes).float()
    if weights is not None:
        wanted = wanted * weights
    spread = smoothing / classes * wanted.sum(1, keepdim=True)
    wanted = (1 - smoothing) * wanted + spread
    return -(wanted * functional.log_softmax(outputs.float(), 1)).sum(1).mean()


def distance(
    outputs: Tensor,
    teacher: Tensor,
    temperature: float,
    counts: Tensor | None = None,
) -> Tensor:
    """Returns how far outputs ``(B, K)`` are from a teacher's, both softened by ``temperature``.

    The square of the temperature keeps gradients at the size of those of the labels.

    Args:
        counts: How much each image counts, ``(B,)``; None where each counts 1.
    """
    log_student = functional.log_softmax(outputs.float() / temperature, 1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, 1)
    if counts is None:
        divergence = functional.kl_div(
            log_student, log_teacher, reduction="batchmean", log_target=True
        )
    else:
        each = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True)
        divergence = (each.sum(1) * counts).mean()
    return divergence * temperature**2


def image_counts(labels: Tensor, weights: Tensor | None) -> Tensor | None:
    """Returns how much each image counts, ``(B,)``, by its label and the weights of classes."""
    if weights is None:
        return None
    return labels @ weights if labels.dim() == 2 else torch.take(weights, labels)
