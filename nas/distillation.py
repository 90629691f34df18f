"""Distillation: a network that learns what another one says, beside the labels.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", NIPS 2014 Deep
Learning Workshop, https://arxiv.org/abs/1503.02531, section 2.
Differs from the paper: the distance is the KL divergence, which differs from its cross-entropy by
what no gradient sees, and is zero where both networks agree.

Shape letters: B batch, K classes.
"""

from torch import Tensor
from torch.nn import functional


def distance(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Returns how far outputs ``(B, K)`` are from a teacher's, both softened by ``temperature``.

    The square of the temperature keeps gradients at the size of those of the labels.
    """
    log_student = functional.log_softmax(outputs.float() / temperature, 1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, 1)
    divergence = functional.kl_div(
        log_student, log_teacher, reduction="batchmean", log_target=True
    )
    return divergence * temperature**2
