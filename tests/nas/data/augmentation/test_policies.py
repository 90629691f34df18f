"""Every change of a policy against Pillow, image by image, at every strength."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from nas.data.augmentation import colours
from nas.data.augmentation.policies import CHANGES, MOVE, changed, transformed, with_policy
from nas.data.augmentation.settings import Augmentation

LEVELS = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.8, 1.0] * 2)
SIGNS = torch.tensor([1.0] * 6 + [-1.0] * 6)
Picture = Image.Image


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(channels: int = 3, height: int = 37, width: int = 29) -> Tensor:
    """Images with smooth parts, edges and few values, one for each level and sign."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    made = []
    for row in range(len(LEVELS)):
        waves = 120 + 90 * np.sin(x / 3 + row) * np.cos(y / 4)
        gains = (0.4 + 0.2 * np.arange(channels))[:, None, None]
        image = waves * gains + rng.normal(0, 9, (channels, height, width))
        image[:, :5, :5] = 40 * row % 256
        made.append(image.clip(0, 255).round())
    return torch.tensor(np.stack(made), dtype=torch.float32)


def as_picture(image: Tensor) -> Picture:
    pixels = image.byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


def as_tensor(picture: Picture) -> Tensor:
    pixels = np.array(picture)
    return (
        torch.tensor(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1).float()
    )


def enhanced(how: Any) -> Callable[[Picture, float, bool], Picture]:  # noqa: ANN401
    def apply(picture: Picture, strength: float, wide: bool) -> Picture:
        made: Picture = how(picture).enhance(1 + strength * (0.99 if wide else 0.9))
        return made

    return apply


def affine(
    matrix: Callable[[Picture, float, bool], tuple[float, ...]],
) -> Callable[[Picture, float, bool], Picture]:
    def apply(picture: Picture, strength: float, wide: bool) -> Picture:
        wanted = matrix(picture, strength, wide)
        return picture.transform(picture.size, Image.Transform.AFFINE, wanted)

    return apply


PILLOW: dict[str, Callable[[Picture, float, bool], Picture]] = {
    "identity": lambda picture, strength, wide: picture,
    "shear x": affine(lambda p, s, wide: (1, s * (0.99 if wide else 0.3), 0, 0, 1, 0)),
    "shear y": affine(lambda p, s, wide: (1, 0, 0, s * (0.99 if wide else 0.3), 1, 0)),
    "translate x": affine(lambda p, s, wide: (1, 0, int(s * MOVE * p.size[0]), 0, 1, 0)),
    "translate y": affine(lambda p, s, wide: (1, 0, 0, 0, 1, int(s * MOVE * p.size[1]))),
    "rotate": lambda picture, strength, wide: picture.rotate(strength * (135 if wide else 30)),
    "brightness": enhanced(ImageEnhance.Brightness),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "posterize": lambda p, s, wide: ImageOps.posterize(p, 8 - round(abs(s) * (6 if wide else 4))),
    "solarize": lambda p, s, wide: ImageOps.solarize(p, 255 * (1 - abs(s))),  # type: ignore[arg-type]
    "autocontrast": lambda picture, strength, wide: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength, wide: ImageOps.equalize(picture),
}
SHAPES = {"shear x", "shear y", "translate x", "translate y", "rotate"}


def test_every_change_has_its_picture() -> None:
    assert PILLOW.keys() == CHANGES.keys()


@pytest.mark.parametrize("wide", [False, True], ids=["usual", "wide"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_that_of_pillow(name: str, channels: int, wide: bool) -> None:
    images = photos(channels)

    found = CHANGES[name](images, LEVELS, SIGNS, wide)

    for row, image in enumerate(images):
        strength = float(LEVELS[row] * SIGNS[row])
        wanted = as_tensor(PILLOW[name](as_picture(image), strength, wide))
        apart = (found[row] - wanted).abs()
        if name in SHAPES:  # Pillow counts places in 65536ths
            assert float((apart > 0).float().mean()) < 0.02, strength
        else:  # and rounds products to a float or a double
            assert float(apart.max()) <= 1, strength
            assert float((apart > 0).float().mean()) < 0.01, strength


def test_images_of_one_value_stay() -> None:
    images = torch.full((2, 3, 5, 5), 77.0)

    assert torch.equal(colours.stretched(images), images)
    assert torch.equal(colours.equalized(images), images)


def test_tiny_images_pass_through_every_change() -> None:
    images = torch.full((len(LEVELS), 1, 1, 2), 200.0)

    for change in CHANGES.values():
        found = change(images, LEVELS, SIGNS, True)
        assert found.shape == images.shape
        assert bool(((found >= 0) & (found <= 255)).all())


def test_a_matrix_that_moves_nothing_moves_nothing() -> None:
    images = photos()

    assert torch.equal(transformed(images, torch.eye(2, 3).repeat(len(images), 1, 1)), images)


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_results_are_whole_numbers_decided_by_the_generator_alone(policy: Any) -> None:  # noqa: ANN401
    images = photos() + 0.3
    before = images.clone()
    augmentation = Augmentation(policy=policy)

    found = with_policy(images, augmentation, seeded())

    assert torch.equal(images, before)
    assert torch.equal(found, found.round())
    assert torch.equal(found, with_policy(images, augmentation, seeded()))
    assert not torch.equal(found, with_policy(images, augmentation, seeded(1)))


def test_each_image_has_one_change_of_all() -> None:
    image = photos()[3:4]
    level = torch.tensor([0.3])
    alone = [
        change(image, level, torch.tensor([sign]), False)
        for change in CHANGES.values()
        for sign in (1.0, -1.0)
    ]

    found = changed(image.repeat(2000, 1, 1, 1), 0.3, seeded())

    kinds = torch.stack([(found == each).flatten(1).all(1) for each in alone])
    assert bool(kinds.any(0).all())
    for kind in kinds:
        assert int(kind.sum()) > 30


def test_a_strength_of_zero_changes_next_to_nothing() -> None:
    names = [name for name in CHANGES if name not in ("solarize", "autocontrast", "equalize")]
    images = photos()

    for name in names:
        found = CHANGES[name](images, 0 * LEVELS, SIGNS, True)
        assert torch.equal(found, images), name
