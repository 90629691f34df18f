"""Augmentation moves, mirrors and hides pixels, each image its own, and changes nothing else."""

from hashlib import sha256

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.data.augmentation.settings import Augmentation, Padding
from nas.data.augmentation.transforms import augment, gathered
from search_spaces.graphs.errors import UserError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch: int = 64, channels: int = 3, height: int = 6, width: int = 7) -> Tensor:
    """Images whose pixels all differ and none is black."""
    image = torch.arange(1, channels * height * width + 1.0).reshape(1, channels, height, width)
    return image.repeat(batch, 1, 1, 1)


SETTINGS = st.builds(
    Augmentation,
    flip=st.booleans(),
    shift=st.floats(0, 0.5),
    padding=st.sampled_from(["zero", "reflect"]),
    cutout=st.floats(0, 0.99),
)


@settings(max_examples=40, deadline=None)
@given(SETTINGS, st.integers(0, 99), st.sampled_from([(1, 1), (1, 5), (4, 7), (8, 8)]))
def test_shape_and_pixel_values_stay(
    augmentation: Augmentation, seed: int, size: tuple[int, int]
) -> None:
    images = numbered(5, 2, *size)

    result = augment(images, augmentation, seeded(seed))

    assert result.shape == images.shape
    known = {0.0, *images[0].flatten().tolist()}
    assert set(result.flatten().tolist()) <= known


@settings(max_examples=20, deadline=None)
@given(SETTINGS, st.integers(0, 99))
def test_the_generator_alone_decides(augmentation: Augmentation, seed: int) -> None:
    images = numbered()

    first = augment(images, augmentation, seeded(seed))
    torch.rand(3)
    again = augment(images, augmentation, seeded(seed))

    assert torch.equal(first, again)


def test_the_input_is_left_as_it_was() -> None:
    images = numbered()
    before = images.clone()

    augment(images, Augmentation(True, 0.3, "zero", 0.4), seeded())

    assert torch.equal(images, before)


def test_the_default_changes_nothing() -> None:
    images = numbered()

    assert torch.equal(augment(images, Augmentation(), seeded()), images)


def test_a_flip_mirrors_about_half_of_the_images_and_undoes_itself() -> None:
    images = numbered(400)

    result = augment(images, Augmentation(flip=True), seeded())

    mirrored = (result == images.flip(3)).flatten(1).all(1)
    same = (result == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 150 < int(mirrored.sum()) < 250
    assert torch.equal(augment(result, Augmentation(flip=True), seeded()), images)


def test_shifts_reach_every_place_up_to_their_limit() -> None:
    images = torch.zeros(2000, 1, 8, 8)
    images[:, :, 4, 4] = 1

    result = augment(images, Augmentation(shift=0.25), seeded())

    places = {tuple(place) for place in result[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_a_shift_agrees_with_padding_and_slicing(padding: Padding) -> None:
    images = numbered(9, 2, 5, 6)
    rows = torch.arange(5) + torch.arange(-4, 5)[:, None]
    columns = torch.arange(6) + torch.tensor([3, -5, 0, 1, 5, -1, 2, -2, 4])[:, None]

    result = gathered(images, rows, columns, padding)

    mode = "constant" if padding == "zero" else "reflect"
    padded = torch.nn.functional.pad(images, (5, 5, 4, 4), mode=mode)
    for index in range(9):
        top, left = int(rows[index, 0]) + 4, int(columns[index, 0]) + 5
        expected = padded[index, :, top : top + 5, left : left + 6]
        assert torch.equal(result[index], expected)


def test_a_cut_out_is_one_black_square_of_at_most_its_size() -> None:
    images = torch.ones(500, 3, 8, 8)

    hidden = augment(images, Augmentation(cutout=0.5), seeded()) == 0

    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), rows * columns)
    assert sorted({*rows.tolist(), *columns.tolist()}) == [2, 3, 4]


def test_images_of_a_batch_are_treated_differently() -> None:
    result = augment(numbered(32), Augmentation(shift=0.5), seeded())

    assert len({tuple(image.flatten().tolist()) for image in result}) > 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("shift", -0.1), ("shift", 0.6), ("cutout", 1.0), ("cutout", -1), ("padding", "wrap")),
        *(("crop", -0.1), ("crop", 1.5), ("policy", "autoaugment"), ("policy_ops", 0)),
        *(("policy_magnitude", 31), ("erasing", 2), ("mixup", -1), ("cutmix", 101)),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"augmentation {field} must be .*, got '?{value}"):
        Augmentation(**{field: value})  # type: ignore[arg-type]


def test_what_older_settings_do_is_what_they_did() -> None:
    images = numbered(16, 3, 8, 8)

    result = augment(images, Augmentation(True, 0.25, "reflect", 0.5), seeded(5))

    digest = sha256(result.numpy().tobytes()).hexdigest()
    assert digest == "5f4bb43d18edae8cec861fd43181182b106acc28b8ea8aba7cd42501d2647e2f"
