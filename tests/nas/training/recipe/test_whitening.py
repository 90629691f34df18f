"""The first convolution begins as the patches' principal components, and nothing else changes."""

import numpy as np
import torch

from nas.data.tensors import TensorSplit
from nas.nn.interpreter import Interpreter, model_arrays
from nas.training.recipe.whitening import components, whiten
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.reprecision import uniform


def net(width: int, groups: int = 1, channels: int = 1) -> Graph:
    net = GraphBuilder((channels, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3), groups=groups), net.input)
    x = net.add("next", Conv2d(4, (3, 3)), x)
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


def whitened(graph: Graph, split: TensorSplit) -> tuple[dict[str, np.ndarray], Interpreter]:
    module = Interpreter(graph, generator=torch.Generator().manual_seed(0))
    before = model_arrays(module)
    whiten(module, split)
    return before, module


def test_responses_of_patches_are_uncorrelated_and_equally_strong() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 3, generator=generator)
    images = torch.randn(20, 3, 12, 12, generator=generator)
    images = torch.einsum("ij,bjhw->bihw", mixing, images)

    rows = components(images, (2, 2), 24)

    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    covariance = np.cov((patches @ rows[::2].T).numpy().T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2
    assert np.diag(covariance).max() <= 1.01
    assert torch.equal(rows[1::2], -rows[::2])
    sizes = rows[::2].norm(dim=1)
    assert torch.equal(sizes, sizes.sort().values)  # the largest components come first


def test_only_the_first_convolution_changes_and_keeps_its_size(digits_split: TensorSplit) -> None:
    before, module = whitened(net(6), digits_split)

    after = model_arrays(module)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {"stem.weight"}
    np.testing.assert_allclose(after["stem.weight"].std(), before["stem.weight"].std(), rtol=0.1)
    np.testing.assert_array_equal(after["stem.weight"][::2], -after["stem.weight"][1::2])


def test_channels_beyond_the_components_stay_as_they_were_drawn(digits_split: TensorSplit) -> None:
    before, module = whitened(net(24), digits_split)

    after = model_arrays(module)["stem.weight"]
    assert not np.array_equal(after[:18], before["stem.weight"][:18])  # 9 pixels, both signs
    np.testing.assert_array_equal(after[18:], before["stem.weight"][18:])


def test_it_is_the_same_whatever_else_draws(digits_split: TensorSplit) -> None:
    _, first = whitened(net(6), digits_split)
    torch.rand(3)
    _, again = whitened(net(6), digits_split)

    arrays = model_arrays(first), model_arrays(again)
    one, other = (each["stem.weight"] for each in arrays)
    np.testing.assert_array_equal(one, other)


def test_coded_first_layers_are_left_alone(digits_split: TensorSplit) -> None:
    before, module = whitened(uniform(net(6), PRECISIONS["w8a8"]), digits_split)

    np.testing.assert_array_equal(model_arrays(module)["stem.weight"], before["stem.weight"])
