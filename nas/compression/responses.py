"""Responses: what layers answer to images, before bias and norm, at drawn positions.

*Source:* Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
Detection", TPAMI 2016, https://arxiv.org/abs/1505.06798, section 3.1: the principal axes of a
layer's responses are those that a low-rank layer must keep; ten positions an image are enough.

Shape letters: n samples, B batch, O output channels, H and W spatial size.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import LAYERS, from_model
from nas.nn.layers import Context
from nas.training.recipe.statistics import drawn_batches
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d, Linear

IMAGES = 512
POSITIONS = 10  # of each image
BATCH = 32


def responses(
    model: Model,
    split: TensorSplit,
    names: Sequence[str],
    *,
    num_images: int = IMAGES,
    positions: int = POSITIONS,
) -> dict[str, Array]:
    """Returns what the named layers answer, ``(n, O)`` each: products alone, no bias.

    Args:
        names: Of convolutions and linear layers.
        positions: Of each map; all where it has fewer.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    generator = torch.Generator(split.device).manual_seed(0)

    def listening(name: str) -> Callable[..., Tensor]:
        def layer(op: Conv2d | Linear, context: Context, x: Tensor) -> Tensor:
            found[name].append(drawn_positions(answer(op, context, x), positions, generator))
            made: Tensor = LAYERS[type(op)](op, context, x)
            return made

        return layer

    module = from_model(model, {name: listening(name) for name in names}).to(split.device)
    with torch.inference_mode():
        for rows in drawn_batches(split, num_images, BATCH):
            module.run(split.inputs(rows, model.graph.input_shape))
    return {name: np.array(torch.cat(parts).cpu().numpy()) for name, parts in found.items()}


def answer(op: Conv2d | Linear, context: Context, x: Tensor) -> Tensor:
    """Returns ``(B, O, H, W)``: what a layer makes of a map before bias, norm and activation."""
    bare = replace(op, bias=False, norm="none", activation="none")
    made: Tensor = LAYERS[type(op)](bare, context, x)
    return made


def drawn_positions(maps: Tensor, positions: int, generator: torch.Generator) -> Tensor:
    """Returns the channels at some positions of each image, ``(n, O)``."""
    flat = maps.flatten(2).permute(0, 2, 1)  # (B, H W, O)
    if flat.shape[1] > positions:
        drawn = torch.rand(flat.shape[:2], generator=generator, device=flat.device)
        places = drawn.argsort(1)[:, :positions]
        flat = flat.gather(1, places[:, :, None].expand(-1, -1, flat.shape[2]))
    return flat.reshape(-1, flat.shape[2])
