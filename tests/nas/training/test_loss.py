"""Losses against slow obvious versions: one image, one label after another."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.training.loss import distance, image_counts, label_loss

WEIGHTS = torch.tensor([0.5, 1.0, 4.0])


def drawn(batch: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, labels and shares of labels, all random."""
    rng = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(batch, 3, generator=rng)
    labels = torch.randint(3, (batch,), generator=rng)
    part = torch.rand(batch, 1, generator=rng)
    other = functional.one_hot(labels.roll(1), 3)
    return outputs, labels, part * functional.one_hot(labels, 3) + (1 - part) * other


def one_by_one(outputs: Tensor, shares: Tensor, smoothing: float, weights: Tensor) -> float:
    total = 0.0
    for output, share in zip(outputs.double(), shares.double(), strict=True):
        parts = [math.exp(value) for value in output]
        chances = [part / sum(parts) for part in parts]
        for label in range(3):
            right = -(1 - smoothing) * math.log(chances[label])
            spread = -smoothing / 3 * sum(math.log(chance) for chance in chances)
            total += float(share[label] * weights[label]) * (right + spread)
    return total / len(outputs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_each_label_costs_what_one_alone_costs(
    smoothing: float, is_mixed: bool, weights: Tensor | None
) -> None:
    outputs, labels, mixed = drawn()
    shares = mixed if is_mixed else functional.one_hot(labels, 3)
    expected = one_by_one(
        outputs, shares, smoothing, torch.ones(3) if weights is None else weights
    )

    found = label_loss(outputs, mixed if is_mixed else labels, smoothing, weights)

    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_without_weights_or_mixing_it_is_torchs_own_to_the_bit() -> None:
    outputs, labels, _ = drawn()

    found = label_loss(outputs, labels, 0.1)

    assert torch.equal(found, functional.cross_entropy(outputs, labels, label_smoothing=0.1))


def test_a_mixture_of_one_class_with_itself_is_that_class() -> None:
    outputs, labels, _ = drawn()
    alone = functional.one_hot(labels, 3).float()

    mixed, plain = label_loss(outputs, alone, 0.1), label_loss(outputs, labels, 0.1)

    assert float(mixed) == pytest.approx(float(plain))


def test_the_distance_counts_each_image_as_its_label_does() -> None:
    outputs, labels, mixed = drawn()
    teacher = outputs.roll(1, 0)
    each = torch.stack(
        [distance(a[None], b[None], 2.0) for a, b in zip(outputs, teacher, strict=True)]
    )

    for given in (labels, mixed):
        counts = image_counts(given, WEIGHTS)
        assert counts is not None
        found = distance(outputs, teacher, 2.0, counts)
        assert float(found) == pytest.approx(float((counts * each).mean()), rel=1e-5)
    assert image_counts(labels, None) is None
    assert float(distance(outputs, teacher, 2.0)) == pytest.approx(float(each.mean()), rel=1e-5)
