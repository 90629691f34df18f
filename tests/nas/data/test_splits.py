"""Splits are disjoint, stratified and seeded; on a device they become network inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.augmentation.settings import Augmentation
from nas.data.images import ImageData
from nas.data.sources.registry import load, make_source
from nas.data.splits import Normalization, apportion, normalization, split
from nas.data.tensors import check_input, place, place_split
from search_spaces.graphs.errors import UserError


def numbered(sizes: tuple[int, ...], seed: int = 0, name: str = "set") -> ImageData:
    """Images that each hold their own number, ``sizes[k]`` of class k in mixed order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    number = np.arange(len(labels))
    images = np.stack([number % 256, number // 256], axis=1).astype(np.uint8)
    names = tuple(f"class{label}" for label in range(len(sizes)))
    return ImageData(name, images.reshape(-1, 1, 2, 1), labels, names)


def numbers(data: ImageData) -> set[int]:
    return set((data.images[:, 0, 0, 0] + 256 * data.images[:, 0, 1, 0].astype(int)).tolist())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(10, 60), min_size=2, max_size=5),
    st.floats(0.15, 0.3),
    st.floats(0.15, 0.3),
    st.integers(0, 9),
)
def test_every_image_is_in_one_split_and_classes_keep_their_share(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    data = numbered(tuple(sizes))

    parts = split(data, seed=seed, validation=validation, test=test)

    together = [numbers(part) for part in (parts.train, parts.validation, parts.test)]
    assert sum(len(part) for part in together) == len(data)
    assert set.union(*together) == set(range(len(data)))
    assert len(parts.validation) == round(validation * len(data))
    for part in (parts.validation, parts.test):
        counts = np.bincount(part.labels, minlength=len(sizes))
        ideal = np.array(sizes) * len(part) / len(data)
        assert np.abs(counts - ideal).max() < 1.000001


def test_labels_stay_with_their_images() -> None:
    data = numbered((30, 40))

    for part in (split(data, seed=3).train, split(data, seed=3).test):
        assert all(
            data.labels[number] == label
            for number, label in zip(sorted(numbers(part)), part.labels, strict=True)
        )


def test_the_seed_alone_decides() -> None:
    data = numbered((30, 40))
    first, again, other = (split(data, seed=seed) for seed in (1, 1, 2))

    assert first.test.fingerprint == again.test.fingerprint
    assert first.train.fingerprint == again.train.fingerprint
    assert first.test.fingerprint != other.test.fingerprint


def test_counts_and_a_part_of_the_images_may_be_asked_for() -> None:
    parts = split(numbered((50, 50)), seed=0, train=20, validation=10, test=6)

    assert (len(parts.train), len(parts.validation), len(parts.test)) == (20, 10, 6)
    assert np.bincount(parts.train.labels).tolist() == [10, 10]


def test_an_official_test_set_is_the_test_split_whole() -> None:
    data, official = numbered((30, 30)), numbered((5, 7), seed=1, name="official")

    parts = split(data, official, seed=0, validation=0.2)

    assert parts.test is official
    assert len(parts.validation) == 12
    assert len(parts.train) == 48


def test_an_official_test_set_of_another_kind_is_refused() -> None:
    data, other = numbered((30, 30)), numbered((5, 5, 5), name="official")

    with pytest.raises(UserError, match=r"official: test images must have the shape and classes"):
        split(data, other, seed=0)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"validation": 0.6, "test": 0.5}, "must share 20 images, got 23; lower an amount"),
        ({"validation": 0.6, "test": 0.4}, "must share 20 images, got 21; lower an amount"),
        ({"train": 15, "validation": 4, "test": 4}, "must share 20 images, got 23"),
        ({"validation": 0.0}, "validation split must be a share between 0 and 1 .*, got 0.0"),
        ({"test": 1.5}, "test split must be a share between 0 and 1 .*, got 1.5"),
        ({"test": 0.01}, "test split must have 1 to 19 of 20 images, got 0"),
        ({"train": 0}, "train split must have 1 to 19 of 20 images, got 0"),
        ({"validation": 1}, r"class 'class1' \(10 images\) has none left for validation"),
        ({"train": 1}, "has none left for train"),
    ],
)
def test_amounts_that_leave_a_split_or_class_empty_are_refused(
    amounts: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        split(numbered((10, 10)), seed=0, **amounts)  # type: ignore[arg-type]


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(UserError, match=r"class 'class1' \(1 images\) has none left for"):
        split(numbered((30, 1)), seed=0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.floats(0, 1))
def test_apportioning_gives_out_everything(sizes: list[int], share: float) -> None:
    amount = round(share * sum(sizes))

    quota = apportion(amount, np.array(sizes), np.array(sizes))

    assert quota.sum() == amount
    assert (quota <= sizes).all()


def test_mean_and_deviation_are_those_of_the_train_split() -> None:
    data = load(make_source("digits")).data
    parts = split(data, seed=0)

    pixels = parts.train.images / 255

    assert parts.normalization.mean == pytest.approx((pixels.mean(),))
    assert parts.normalization.std == pytest.approx((pixels.std(),))
    assert place(parts).train.inputs(slice(None), (1, 8, 8)).std().item() == pytest.approx(1, 1e-3)


def test_a_constant_channel_is_shifted_and_not_divided_by_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)
    images[..., 2] = 7
    data = ImageData("set", images, np.array([0, 1, 0, 1]), ("a", "b"))

    found = normalization(data)
    inputs = place_split(data, found).inputs(slice(None), (3, 3, 3))

    assert found.std[2] == 1
    assert torch.isfinite(inputs).all()
    assert inputs[:, 2].abs().max() < 1e-6
    images[...] = 7
    with pytest.raises(UserError, match="set: pixels must differ, all are 7 everywhere; check"):
        normalization(data)


def test_normalization_and_fingerprints_do_not_depend_on_how_pixels_are_read() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 200, 200, 3), dtype=np.uint8)
    data = ImageData("set", images, np.arange(60) % 2, ("a", "b"))
    rows = np.random.default_rng(1).permutation(60)[:41]

    part = data.take(rows, "part")
    copied = ImageData("copy", images[rows], data.labels[rows], ("a", "b"))

    assert len(list(part.chunks())) > 1
    assert part.pixels is images
    assert part.fingerprint == copied.fingerprint
    assert normalization(part) == normalization(copied)
    assert np.allclose(normalization(part).mean, images[rows].mean((0, 1, 2)) / 255)
    assert part.take(np.array([3, 1]), "two").images.tobytes() == images[rows[[3, 1]]].tobytes()


class TestTensors:
    NORM = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))

    def colour(self, size: tuple[int, int] = (6, 5)) -> ImageData:
        images = np.random.default_rng(0).integers(0, 256, (7, *size, 3), dtype=np.uint8)
        return ImageData("set", images, np.array([0, 1, 0, 1, 0, 1, 1]), ("a", "b"))

    def test_inputs_are_normalised_pixels_in_channel_order(self) -> None:
        data = self.colour()
        split = place_split(data, self.NORM)

        got = split.inputs(torch.tensor([4, 2]), (3, 6, 5)).numpy()

        pixels = data.images[[4, 2]].transpose(0, 3, 1, 2) / 255
        mean, std = (np.array(v)[:, None, None] for v in (self.NORM.mean, self.NORM.std))
        assert got == pytest.approx((pixels - mean) / std, abs=1e-5)

    def test_inputs_lie_channels_last_also_with_one_channel(self) -> None:
        data = load(make_source("digits")).data
        split = place_split(data, Normalization((0.3,), (0.4,)))

        assert split.inputs(slice(0, 4), (1, 8, 8)).stride() == (64, 1, 8, 1)

    def test_another_resolution_is_resized_without_aliasing(self) -> None:
        pattern = np.indices((8, 8)).sum(0) % 2 * 255  # a chessboard, grey from afar
        images = np.stack([pattern] * 2).astype(np.uint8)[..., None]
        data = ImageData("set", images, np.array([0, 1]), ("a", "b"))

        split = place_split(data, Normalization((0.0,), (1.0,)))

        small = split.inputs(slice(None), (1, 2, 2)).numpy()
        large = split.inputs(slice(None), (1, 16, 24))

        assert small == pytest.approx(0.5, abs=0.02)
        assert large.shape == (2, 1, 16, 24)

    def test_batches_are_the_inputs_in_order(self) -> None:
        data = self.colour()
        split = place_split(data, self.NORM)

        seen = torch.cat([x for x, _ in split.batches((3, 4, 4), 3)])
        labels = torch.cat([y for _, y in split.batches((3, 4, 4), 3)])

        assert torch.equal(split.inputs(slice(None), (3, 4, 4)), seen)
        assert labels.tolist() == data.labels.tolist()

    def test_augmentation_is_applied_before_normalising(self) -> None:
        split = place_split(self.colour(), self.NORM)

        hidden = split.inputs(slice(None), (3, 6, 5), Augmentation(cutout=0.9))

        black = -torch.tensor(self.NORM.mean) / torch.tensor(self.NORM.std)
        assert (hidden - black[:, None, None]).abs().amin((0, 2, 3)).max().item() < 1e-5

    def test_a_network_of_other_channels_is_refused(self) -> None:
        split = place_split(self.colour(), self.NORM)

        with pytest.raises(
            UserError, match=r"as many channels .* got 1 for images of 3; build it"
        ):
            check_input(split, (1, 6, 5))
