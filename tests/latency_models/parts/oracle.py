"""What kernels should compute: plain loops over einsum, on maps (C, H, W)."""

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.operators import Size, window_size

Array = NDArray[np.float64]


def convolve(
    x: Array,
    weight: Array,
    bias: Array,
    stride: Size = (1, 1),
    padding: Size = (0, 0),
    dilation: Size = (1, 1),
    groups: int = 1,
) -> Array:
    """Convolution of ``x`` (C, H, W) with ``weight`` (O, C / groups, kh, kw)."""
    kernel = (weight.shape[2], weight.shape[3])
    height, width = window_size((x.shape[1], x.shape[2]), kernel, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    inputs = np.split(padded, groups)
    result = []
    for part, taps in zip(inputs, np.split(weight, groups), strict=True):
        total = np.zeros((taps.shape[0], height, width))
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                rows = slice(i * dilation[0], i * dilation[0] + (height - 1) * stride[0] + 1)
                cols = slice(j * dilation[1], j * dilation[1] + (width - 1) * stride[1] + 1)
                seen = part[:, rows, cols][:, :: stride[0], :: stride[1]]
                total += np.einsum("chw,oc->ohw", seen, taps[:, :, i, j])
        result.append(total)
    return np.concatenate(result) + bias[:, None, None]


def pool(
    kind: str,
    x: Array,
    kernel: Size,
    stride: Size,
    padding: Size = (0, 0),
    ceil_mode: bool = False,
) -> Array:
    """Largest value or mean (padded zeros count) of each window of ``x`` (C, H, W)."""
    channels, rows, columns = x.shape
    height, width = window_size((rows, columns), kernel, stride, padding, (1, 1), ceil_mode)
    fill = -np.inf if kind == "max" else 0.0
    result = np.empty((channels, height, width))
    for i in range(height):
        for j in range(width):
            window = np.full((channels, *kernel), fill)
            for a in range(kernel[0]):
                for b in range(kernel[1]):
                    y, z = i * stride[0] - padding[0] + a, j * stride[1] - padding[1] + b
                    if 0 <= y < rows and 0 <= z < columns:
                        window[:, a, b] = x[:, y, z]
            flat = window.reshape(channels, -1)
            result[:, i, j] = flat.max(axis=1) if kind == "max" else flat.mean(axis=1)
    return result


def shuffle(x: Array, groups: int) -> Array:
    channels, height, width = x.shape
    return (
        x.reshape(groups, channels // groups, height, width).transpose(1, 0, 2, 3).reshape(x.shape)
    )
