"""Tensors: a split on the training device, turned into network inputs batch by batch.

The whole split stays there as uint8; a batch is sliced, resized, augmented and normalised where
it is used, so that no worker processes or copies stand between two steps.

Shape letters: N images, B batch, C channels, H and W spatial size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nas.data.augmentation import Augmentation
from nas.data.images import ImageData
from nas.data.splits import Normalization, Splits
from nas.data.transforms import augment
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Shape


@dataclass(frozen=True, slots=True, eq=False)
class TensorSplit:
    """One split on a device.

    Attributes:
        name: What messages call it.
        images: ``(N, C, H, W)``, uint8.
        labels: ``(N,)``, int64.
        shift: The channel means on the scale 0..255, ``(C, 1, 1)``.
        factor: One over the deviations on that scale, ``(C, 1, 1)``.
    """

    name: str
    images: Tensor
    labels: Tensor
    shift: Tensor
    factor: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def inputs(
        self,
        rows: Tensor | slice,
        input_shape: Shape,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Returns the images at ``rows`` as a network takes them, ``(B, C, H, W)`` float32.

        They lie channels-last in memory, in which small networks train up to twice as fast on a
        CPU as in the other order, and 16-bit ones on a GPU.
        """
        pixels = self.images[rows].float()
        if pixels.shape[2:] != input_shape[1:]:
            pixels = functional.interpolate(
                pixels, input_shape[1:], mode="bilinear", antialias=True
            )
        if augmentation is not None:
            pixels = augment(pixels, augmentation, generator)
        inputs = torch.empty(pixels.shape, device=pixels.device, memory_format=torch.channels_last)
        return torch.sub(pixels, self.shift, out=inputs).mul_(self.factor)

    def batches(self, input_shape: Shape, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields inputs and labels in order, the last batch as small as it is."""
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            yield self.inputs(rows, input_shape), self.labels[rows]


@dataclass(frozen=True, slots=True, eq=False)
class TensorSplits:
    """The three splits on one device."""

    train: TensorSplit
    validation: TensorSplit
    test: TensorSplit


def training_device(name: str) -> torch.device:
    """Returns the device that a configuration means; ``auto`` is CUDA where there is one.

    Raises:
        UserError: If it says ``cuda`` and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError(
            f"training device must be there, got 'cuda' and torch {torch.__version__} sees no "
            "CUDA device; install a CUDA build of torch or set device to cpu"
        )
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def place(splits: Splits, device: torch.device | str = "cpu") -> TensorSplits:
    """Returns the splits as tensors on ``device``."""
    norm = splits.normalization
    return TensorSplits(
        place_split(splits.train, norm, device),
        place_split(splits.validation, norm, device),
        place_split(splits.test, norm, device),
    )


def place_split(
    data: ImageData, normalization: Normalization, device: torch.device | str = "cpu"
) -> TensorSplit:
    """Returns one split as tensors on ``device``."""
    images = np.ascontiguousarray(data.images.transpose(0, 3, 1, 2))
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device)[:, None, None] * 255
        for values in (normalization.mean, normalization.std)
    )
    return TensorSplit(
        data.name,
        torch.from_numpy(images).to(device),
        torch.from_numpy(data.labels).to(device),
        mean,
        1 / std,
        data.num_classes,
    )


def check_input(split: TensorSplit, input_shape: Shape) -> None:
    """Raises:
    UserError: If a network of this input shape cannot take the images.
    """
    channels = split.images.shape[1]
    if input_shape[0] != channels:
        raise UserError(
            f"{split.name}: a network takes as many channels as the images have, got "
            f"{input_shape[0]} for images of {channels}; build it with {channels}"
        )


def network_inputs(
    data: ImageData, normalization: Normalization, input_shape: Shape
) -> NDArray[np.float32]:
    """Returns all images as a network or an exported file takes them, ``(N, C, H, W)`` float32.

    The pixels go through the same steps as in training and evaluation.
    """
    split = place_split(data, normalization)
    check_input(split, input_shape)
    inputs: NDArray[np.float32] = split.inputs(slice(None), input_shape).contiguous().numpy()
    return inputs
