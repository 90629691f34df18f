"""Tensors: a split on the training device, turned into network inputs batch by batch.

The images stay there as uint8, on a CPU in the memory or file that they were loaded to; a batch
is picked, resized, augmented and normalised where it is used, so that no worker processes or
copies stand between two steps.

Shape letters: N images, M images of all splits, B batch, C channels, H and W spatial size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas.data.augmentation.crops import random_resized_crop
from nas.data.augmentation.settings import Augmentation
from nas.data.augmentation.transforms import augment
from nas.data.images import ImageData
from nas.data.splits import Normalization, Splits
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Shape


@dataclass(frozen=True, slots=True, eq=False)
class TensorSplit:
    """One split on a device.

    Attributes:
        name: What messages call it.
        pixels: ``(M, H, W, C)``, uint8.
        rows: ``(N,)``, int64: which images of ``pixels`` are meant.
        labels: ``(N,)``, int64.
        shift: The channel means on the scale 0..255, ``(C, 1, 1)``.
        factor: One over the deviations on that scale, ``(C, 1, 1)``.
    """

    name: str
    pixels: Tensor
    rows: Tensor
    labels: Tensor
    shift: Tensor
    factor: Tensor
    num_classes: int
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def image_shape(self) -> Shape:
        """``(C, H, W)``, the order of a graph's input."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    def images(self, rows: Tensor | slice) -> Tensor:
        """Returns the images at ``rows``, ``(B, C, H, W)`` uint8, in this order in memory."""
        return self.pixels[self.rows[rows]].permute(0, 3, 1, 2).contiguous()

    def take(self, rows: Tensor | slice) -> "TensorSplit":
        """Returns the split of the images at ``rows`` alone; no pixel is copied."""
        return replace(self, rows=self.rows[rows], labels=self.labels[rows])

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
        pixels = self.images(rows).float()
        if augmentation is not None and augmentation.crop:
            height, width = input_shape[1:]
            pixels = random_resized_crop(pixels, (height, width), augmentation.crop, generator)
        elif pixels.shape[2:] != input_shape[1:]:
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
    device = torch.device(device)
    if device.type == "cpu":  # shared by all splits, and perhaps a file that other processes map
        pixels = torch.from_numpy(np.require(data.pixels, requirements="W"))
        rows = np.arange(len(data)) if data.rows is None else data.rows
    else:
        pixels, rows = torch.from_numpy(data.images).to(device), np.arange(len(data))
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device)[:, None, None] * 255
        for values in (normalization.mean, normalization.std)
    )
    return TensorSplit(
        data.name,
        pixels,
        torch.from_numpy(rows).to(device),
        torch.from_numpy(data.labels).to(device),
        mean,
        1 / std,
        data.num_classes,
        data.class_names,
    )


def check_input(split: TensorSplit, input_shape: Shape) -> None:
    """Raises:
    UserError: If a network of this input shape cannot take the images.
    """
    channels = split.image_shape[0]
    if input_shape[0] != channels:
        raise UserError(
            f"{split.name}: a network takes as many channels as the images have, got "
            f"{input_shape[0]} for images of {channels}; build it with {channels}"
        )
