"""Examples of a model: images as a trained network expects them, and whether it knows them."""

from dataclasses import replace

import torch

from nas.data.images import ImageData
from nas.data.splits import Normalization, Splits, normalized_by
from nas.data.tensors import place, training_device
from nas.models.folder import StoredModel
from nas.problem.records import DataConfig
from nas.problem.search_problem import Examples, load_splits
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

CLOSE = 1e-6  # two means or deviations that people wrote down for the same


def examples_of(
    stored: StoredModel, data: DataConfig, device: str = "cpu"
) -> tuple[StoredModel, Examples]:
    """Returns a network with what the data tells of it, and the images as it expects them.

    Where the network says its mean and std, inputs are normalised by them. Where it does not, they
    are by the data's, and a note says so. A network without class names takes the data's.

    Raises:
        UserError: If the data cannot be read, has other classes or channels, or is to be
            normalised otherwise than the network expects.
    """
    torch.set_num_threads(1)  # as for runs: it repeats exactly
    size = stored.input.image_shape or stored.input_shape
    splits, notes = load_splits(data, (size[1], size[2]))
    check_classes(stored, splits.train)
    known = stored.input.normalization
    if data.normalization is not None:
        check_normalization(stored, splits)
    elif known is not None:
        splits = normalized_by(splits, known)
    else:
        taken = splits.normalization
        notes += (
            f"{stored.name} says no mean and std of its input; taken are the data's, "
            f"{in_words(taken)}",
        )
    taken = splits.normalization
    given = replace(
        stored.input,
        mean=taken.mean,
        std=taken.std,
        image_shape=splits.train.image_shape,
        fit=data.settings.get("fit", stored.input.fit),
        background=data.settings.get("background", stored.input.background),
    )
    found = replace(stored, input=given, class_names=splits.train.class_names)
    return found, Examples(splits, place(splits, training_device(device)), notes)


def check_fits(stored: StoredModel, splits: Splits) -> None:
    """Raises:
    UserError: If a network has other classes or channels than the data, or expects inputs that
        are normalised otherwise.
    """
    check_classes(stored, splits.train)
    check_normalization(stored, splits)


def check_classes(stored: StoredModel, data: ImageData) -> None:
    """Raises UserError if the classes or channels of a network are not those of the data."""
    channels = data.image_shape[0]
    if stored.input_shape[0] != channels:
        raise UserError(
            f"{stored.name} takes images of {stored.input_shape[0]} channels, {data.name} has "
            f"{channels}; set data.channels where its kind has them, or take other data"
        )
    if stored.num_classes != data.num_classes:
        raise UserError(
            f"{stored.name} has {stored.num_classes} outputs, {data.name} {data.num_classes} "
            "classes; take data of its classes"
        )
    names = stored.class_names or data.class_names
    for number, (ours, theirs) in enumerate(zip(names, data.class_names, strict=True)):
        if ours != theirs:
            raise UserError(
                f"{stored.name} calls its output {number} {shown(ours)}, {data.name} that class "
                f"{shown(theirs)}; name the data's classes as the network does, in its order, or "
                "import the network without names"
            )


def check_normalization(stored: StoredModel, splits: Splits) -> None:
    """Raises UserError if a network is known to expect inputs that are normalised otherwise."""
    wanted, found = stored.input.normalization, splits.normalization
    if wanted is not None and not is_close(wanted, found):
        raise UserError(
            f"{stored.name} expects inputs of {in_words(wanted)}, {splits.train.name} has "
            f"{in_words(found)}; set data.normalization to what the network expects"
        )


def is_close(one: Normalization, other: Normalization) -> bool:
    pairs = zip((*one.mean, *one.std), (*other.mean, *other.std), strict=True)
    return all(abs(a - b) <= CLOSE for a, b in pairs)


def in_words(normalization: Normalization) -> str:
    """
    >>> in_words(Normalization((0.5, 0.25), (1.0, 0.125)))
    'mean 0.5, 0.25 and std 1, 0.125'
    """
    mean, std = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (normalization.mean, normalization.std)
    )
    return f"mean {mean} and std {std}"
