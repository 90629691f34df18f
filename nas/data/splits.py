"""Splits: one seeded, stratified partition into train, validation and test images.

The search sees validation; test is for the end.

Shape letters: N images, C channels.
"""

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from nas.data.images import ImageData
from search_spaces.graphs.errors import UserError

SPLITS = ("train", "validation", "test")
Amount = int | float  # a count of images, or a share of them


@dataclass(frozen=True, slots=True)
class Normalization:
    """What inputs are shifted and scaled by, per channel, on the scale 0..1.

    Attributes:
        mean: Subtracted from ``pixels / 255``.
        std: Divides what is left.

    Raises:
        UserError: If they are not as many numbers, or a deviation is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        mean, std = self.mean, self.std
        if len(mean) != len(std) or not mean or not all(map(isfinite, mean)):
            raise UserError(
                f"mean and std must be as many numbers, one a channel, got {mean} and {std}"
            )
        if not all(isfinite(value) and value > 0 for value in std):
            raise UserError(f"std must be numbers above 0, of pixels / 255, got {std}")


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The images of one experiment; ``normalization`` is that of the train split, or given."""

    train: ImageData
    validation: ImageData
    test: ImageData
    normalization: Normalization


def split(
    data: ImageData,
    official_test: ImageData | None = None,
    official_validation: ImageData | None = None,
    *,
    seed: int,
    validation: Amount = 0.15,
    test: Amount = 0.15,
    train: Amount | None = None,
) -> Splits:
    """Returns the splits of ``data``, every class in its proportion in each.

    Args:
        official_test: Taken as the test split whole; validation is then carved from ``data``.
        official_validation: Taken as the validation split whole.
        validation: A share (float) or a count (int) of the images of ``data``; of no effect where
            there is an official validation set.
        test: Likewise.
        train: Likewise; None takes all that is left.

    Raises:
        UserError: If an amount does not fit, or a class would be missing in a split.
    """
    official = {"validation": official_validation, "test": official_test}
    for name, part in official.items():
        if part is not None:
            check_alike(name, part, data)
    total = len(data)
    given = {"validation": validation, "test": test}
    amounts = {
        name: 0 if official[name] is not None else count(data, name, amount)
        for name, amount in given.items()
    }
    held_out = sum(amounts.values())
    amounts["train"] = total - held_out if train is None else count(data, "train", train)
    if held_out + amounts["train"] > total or amounts["train"] < 1:
        raise UserError(
            f"{data.name}: train, validation and test must share {total} images, got "
            f"{held_out + max(amounts['train'], 1)}; lower an amount"
        )
    rows = partition(data, amounts, np.random.default_rng(seed))
    parts = {name: data.take(rows[name], f"{data.name} {name}") for name in rows if amounts[name]}
    parts |= {name: part for name, part in official.items() if part is not None}
    return Splits(**parts, normalization=normalization(parts["train"]))


def normalized_by(splits: Splits, given: Normalization) -> Splits:
    """Returns the splits with inputs that are shifted and scaled otherwise.

    Raises:
        UserError: If there is not a number for each channel.
    """
    channels = splits.train.image_shape[0]
    if len(given.mean) != channels:
        raise UserError(
            f"{splits.train.name}: mean and std must have a number for each of {channels} "
            f"channels, got {len(given.mean)}"
        )
    return replace(splits, normalization=given)


def check_alike(name: str, part: ImageData, data: ImageData) -> None:
    if part.image_shape != data.image_shape or part.class_names != data.class_names:
        raise UserError(
            f"{part.name}: {name} images must have the shape and classes of {data.name}, got "
            f"{part.image_shape} and {part.num_classes} classes after {data.image_shape} and "
            f"{data.num_classes}"
        )


def count(data: ImageData, name: str, amount: Amount) -> int:
    """Returns how many images of ``data`` an amount is."""
    if isinstance(amount, float):
        if not 0 < amount < 1:
            raise UserError(
                f"{data.name}: the {name} split must be a share between 0 and 1 or a whole count, "
                f"got {amount}"
            )
        number = round(amount * len(data))
    else:
        number = amount
    if not 1 <= number < len(data):
        raise UserError(
            f"{data.name}: the {name} split must have 1 to {len(data) - 1} of {len(data)} images, "
            f"got {number}; change its amount"
        )
    return number


def partition(
    data: ImageData, amounts: dict[str, int], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Returns disjoint sorted rows for each name, ``amounts[name]`` in all, by class."""
    by_class = [
        rng.permutation(np.flatnonzero(data.labels == label)) for label in range(data.num_classes)
    ]
    taken = np.zeros(data.num_classes, np.int64)
    sizes = np.array([len(rows) for rows in by_class])
    parts = {}
    for name, amount in amounts.items():
        left = sizes - taken
        quota = apportion(amount, sizes, left)
        for label, number in enumerate(quota):
            if amount and number == 0:
                raise UserError(
                    f"{data.name}: every split needs an image of every class, class "
                    f"{data.class_names[label]!r} ({sizes[label]} images) has none left for "
                    f"{name}; add images of it or enlarge the {name} split"
                )
        chosen = [
            rows[start : start + number]
            for rows, start, number in zip(by_class, taken, quota, strict=True)
        ]
        parts[name] = np.sort(np.concatenate(chosen)).astype(np.int64)
        taken = taken + quota
    return parts


def apportion(amount: int, sizes: NDArray[np.int64], left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns ``amount`` shared out in proportion to ``sizes``, at most ``left`` each.

    >>> apportion(10, np.array([50, 30, 21]), np.array([50, 30, 21])).tolist()
    [5, 3, 2]
    """
    ideal = amount * sizes / sizes.sum()
    quota: NDArray[np.int64] = np.minimum(np.floor(ideal).astype(np.int64), left)
    order = np.argsort(quota - ideal, kind="stable")  # largest remainder first
    while (missing := amount - int(quota.sum())) > 0:
        open_ones = [index for index in order if quota[index] < left[index]]
        for index in open_ones[:missing]:
            quota[index] += 1
    return quota


def normalization(train: ImageData) -> Normalization:
    """Returns the mean and deviation of each channel.

    A channel that is the same everywhere is only shifted, to zero: its deviation counts as 1.

    Raises:
        UserError: If all channels are the same everywhere.
    """
    # Counting the 256 values is exact, and needs no copy of the images as floats.
    values = np.arange(256) / 255
    means, deviations = [], []
    for counts in counted_values(train):
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        deviations.append(float(np.sqrt(share @ (values - mean) ** 2)))
    constant = [deviation < 1e-6 for deviation in deviations]
    if all(constant):
        raise UserError(
            f"{train.name}: pixels must differ, all are {round(means[0] * 255)} everywhere; check "
            "the images"
        )
    return Normalization(
        tuple(means),
        tuple(1.0 if same else std for same, std in zip(constant, deviations, strict=True)),
    )


def counted_values(data: ImageData) -> NDArray[np.int64]:
    """Returns how often each channel has each of the 256 values, ``(C, 256)``."""
    channels = data.pixels.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for pixels in data.chunks():
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
    return counts
