"""Boxes and crops lie within the image, have the area asked for, are resized as one by one."""

import pytest
import torch
from torch.nn import functional

from nas.data.augmentation.boxes import Boxes, random_boxes
from nas.data.augmentation.crops import random_resized_crop, resized
from nas.data.augmentation.erasing import erased

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int, *shape: int) -> torch.Tensor:
    return 255 * torch.rand(batch, *shape, generator=seeded(9))


@pytest.mark.parametrize("size", [(40, 40), (30, 50), (1, 1), (2, 9)])
def test_boxes_lie_within_the_image(size: tuple[int, int]) -> None:
    boxes = random_boxes(500, size, (0.08, 1.0), (0.75, 4 / 3), CPU, seeded())

    assert bool((boxes.top >= 0).all())
    assert bool((boxes.left >= 0).all())
    assert bool((boxes.top + boxes.height <= size[0]).all())
    assert bool((boxes.left + boxes.width <= size[1]).all())
    assert int(boxes.height.min()) >= 1
    assert int(boxes.width.min()) >= 1


def test_boxes_have_the_area_and_shape_asked_for() -> None:
    boxes = random_boxes(2000, (100, 100), (0.2, 0.4), (0.5, 2.0), CPU, seeded())

    area = boxes.height * boxes.width / 1e4
    ratio = boxes.width / boxes.height
    assert bool(boxes.fits.all())
    assert 0.19 < float(area.min()) < 0.21
    assert 0.39 < float(area.max()) < 0.41
    assert float(area.mean()) == pytest.approx(0.3, abs=0.01)
    assert 0.48 < float(ratio.min()) < float(ratio.max()) < 2.1
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.03)
    assert {0, 50} <= set(boxes.top.tolist())


def test_a_box_that_never_fits_is_the_whole_image() -> None:
    boxes = random_boxes(5, (4, 100), (0.9, 1.0), (0.9, 1.1), CPU, seeded())

    assert not bool(boxes.fits.any())
    assert (boxes.height.tolist(), boxes.width.tolist()) == ([4] * 5, [100] * 5)
    assert bool(boxes.covers(4, 100).all())


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (40, 30)])
def test_each_crop_is_what_torch_makes_of_that_part_alone(size: tuple[int, int]) -> None:
    images = noise(20, 3, 24, 20)
    boxes = random_boxes(20, (24, 20), (0.1, 1.0), (0.75, 4 / 3), CPU, seeded())

    found = resized(images, boxes, size)

    for row in range(20):
        top, left = int(boxes.top[row]), int(boxes.left[row])
        bottom, right = top + int(boxes.height[row]), left + int(boxes.width[row])
        part = images[row : row + 1, :, top:bottom, left:right]
        alone = functional.interpolate(part, size, mode="bilinear", antialias=True)
        torch.testing.assert_close(found[row], alone[0], atol=2e-3, rtol=0)


def test_the_whole_image_at_its_own_size_is_the_image() -> None:
    images = noise(2, 1, 6, 6)
    zero, six = torch.zeros(2).long(), torch.full((2,), 6)

    found = resized(images, Boxes(zero, zero, six, six, six > 0), (6, 6))

    torch.testing.assert_close(found, images)


def test_crops_differ_and_the_generator_alone_decides() -> None:
    images = noise(1, 3, 16, 16).repeat(30, 1, 1, 1)

    found = random_resized_crop(images, (8, 8), 0.1, seeded())

    assert len({tuple(image.flatten().tolist()) for image in found}) > 25
    assert torch.equal(found, random_resized_crop(images, (8, 8), 0.1, seeded()))


def test_erased_images_have_a_rectangle_of_noise_and_others_nothing() -> None:
    images = torch.full((400, 3, 20, 20), -1.0)

    found = erased(images, 0.25, seeded())

    hidden = found[:, 0] != -1
    touched = hidden.flatten(1).any(1)
    assert 70 < int(touched.sum()) < 130
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), rows * columns)
    area = (rows * columns)[touched] / 400
    assert 0.01 < float(area.min()) < float(area.max()) < 0.43
    values = found[found != -1]
    assert 0 <= float(values.min()) < 5
    assert 250 < float(values.max()) <= 255
    assert torch.equal(erased(images, 0.0, seeded()), images)
