"""Mixing against the papers' formulas: images and labels by the same shares."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from nas.data.augmentation.mixing import mixed, pasted
from nas.data.augmentation.settings import Augmentation


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(batch: int, side: int = 10) -> torch.Tensor:
    """Images of one value, their number."""
    return torch.arange(batch).float()[:, None, None, None].repeat(1, 2, side, side)


LABELS = torch.arange(8)


def test_mixup_blends_images_and_labels_by_one_share() -> None:
    for seed in range(20):
        inputs, shares = mixed(flat(8), LABELS, 8, Augmentation(mixup=0.4), seeded(seed))

        values = inputs.flatten(1)
        assert torch.equal(values.amin(1), values.amax(1))
        # Each value is the mean of the numbers of both classes.
        torch.testing.assert_close(values[:, 0], shares @ torch.arange(8.0))
        torch.testing.assert_close(shares.sum(1), torch.ones(8))
        assert bool(((shares > 0).sum(1) <= 2).all())
        own = shares[LABELS, LABELS]
        moved = own < 0.99999
        assert len({round(float(value), 5) for value in own[moved]}) <= 1


def test_cutmix_counts_labels_by_the_pixels_of_each() -> None:
    for seed in range(20):
        inputs, shares = mixed(flat(8), LABELS, 8, Augmentation(cutmix=1.0), seeded(seed))

        for row in range(8):
            pixels = inputs[row, 0].flatten().long()
            counted = torch.bincount(pixels, minlength=8) / 100
            torch.testing.assert_close(counted, shares[row])
        assert torch.equal(inputs[:, 0], inputs[:, 1])


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    blend = Augmentation(mixup=0.4)
    own = []
    generator = seeded()
    for _ in range(400):
        _, shares = mixed(flat(3, 1), torch.tensor([0, 1, 2]), 3, blend, generator)
        own += [float(value) for value in shares.diagonal()[:1] if value < 1]

    assert kstest(own, "beta", args=(0.4, 0.4)).pvalue > 0.01


def test_with_both_each_batch_has_one_of_them() -> None:
    both = Augmentation(mixup=1.0, cutmix=1.0)
    blended = 0
    for seed in range(60):
        inputs, _ = mixed(flat(8), LABELS, 8, both, seeded(seed))
        blended += bool((inputs != inputs.round()).any())

    assert 15 < blended < 45


def test_a_rectangle_loses_what_lies_outside() -> None:
    inputs, others = torch.zeros(1, 1, 10, 10), torch.ones(1, 1, 10, 10)

    whole, share = pasted(inputs, others, 0.75, (0.5, 0.5))
    corner, less = pasted(inputs, others, 0.75, (0.0, 0.99))

    assert (float(whole.sum()), share) == (16.0, 0.84)
    assert float(corner.sum()) == pytest.approx(100 * (1 - less))
    assert float(corner.sum()) < 16
    assert float(inputs.sum()) == 0


def test_the_order_in_memory_stays_and_the_generator_alone_decides() -> None:
    inputs = flat(8).to(memory_format=torch.channels_last)
    for augmentation in (Augmentation(mixup=1.0), Augmentation(cutmix=1.0)):
        first, shares = mixed(inputs, LABELS, 8, augmentation, seeded(3))
        again, same = mixed(inputs, LABELS, 8, augmentation, seeded(3))

        assert first.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(first, again)
        assert torch.equal(shares, same)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
