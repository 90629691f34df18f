"""Networks are slices of shared weights: outputs and gradients, against slow ways to the same."""

from random import Random

import numpy as np
import pytest
import torch

from nas.data.tensors import TensorSplits
from nas.nn.interpreter import Interpreter
from nas.training.accuracy import logits
from nas.training.supernet.slices import sliced
from nas.training.supernet.weights import NoSharedWeightsError, SharedWeights
from search_spaces.graphs.model import Array, Model
from search_spaces.space.sharing import SharedWindow
from search_spaces.space.space import Architecture, sample
from search_spaces.space.store import SharedStore, store_of
from tests.nas.parts.trainings import few_digits
from tests.search_spaces.space.test_sharing import SPACE

DRAWS = 12


@pytest.fixture(scope="module")
def store() -> SharedStore:
    return store_of(SPACE, Random(0))


@pytest.fixture(scope="module")
def few() -> TensorSplits:
    return few_digits()


@pytest.fixture
def weights(store: SharedStore) -> SharedWeights:
    return SharedWeights(store, generator=torch.Generator().manual_seed(0))


def networks() -> list[Architecture]:
    rng = Random(5)
    return [sample(SPACE, rng) for _ in range(DRAWS)]


def by_index(whole: Array, window: SharedWindow) -> Array:
    """The slow way: the window's numbers picked one index at a time, axis by axis."""
    first = whole.ndim - window.centred
    for axis, own in enumerate(window.folded):
        start = (whole.shape[axis] - own) // 2 if axis >= first else 0
        whole = np.take(whole, [start + i for i in range(own)], axis=axis)
    return whole


def test_a_slice_computes_what_the_network_with_the_copied_arrays_does(
    weights: SharedWeights, few: TensorSplits
) -> None:
    for architecture in networks():
        module = sliced(weights, architecture, few.train)
        windows = weights.windows(architecture)
        held = module.state_dict()
        arrays = {name: tensor.numpy().copy() for name, tensor in held.items()}
        for name, window in windows.items():
            if window.role.is_step:
                continue  # told by weights and maps, which nothing has trained
            whole = weights.parameters[window.key].detach().numpy()
            wanted = by_index(whole, window).reshape(arrays[name].shape)
            assert np.array_equal(wanted, arrays[name]), name
        alone = Model(architecture.graph, arrays)

        assert torch.equal(logits(alone, few.validation), logits(module, few.validation))


def test_gradients_land_in_the_windows_they_came_from_and_nowhere_else(
    weights: SharedWeights,
) -> None:
    added = {key: torch.zeros_like(p) for key, p in weights.parameters.items()}
    for architecture in networks()[:5]:
        windows = weights.windows(architecture)
        module = weights.module(architecture.graph, windows)
        fill_gradients(module)
        weights.add_gradients(module, windows)
        for name, parameter in module.named_parameters():
            window = windows[name]
            mask = torch.zeros_like(added[window.key])  # the dense way: one number at a time
            mask[window.slices(tuple(mask.shape))] = 1
            assert parameter.grad is not None
            added[window.key].masked_scatter_(
                mask.bool(), added[window.key][mask.bool()] + parameter.grad.flatten()
            )

    for key, parameter in weights.parameters.items():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.equal(found, added[key]), str(key)


def fill_gradients(module: Interpreter) -> None:
    for index, parameter in enumerate(module.parameters()):
        generator = torch.Generator().manual_seed(index)
        parameter.grad = torch.empty_like(parameter).normal_(generator=generator)


def test_what_no_network_reads_has_no_gradient(weights: SharedWeights) -> None:
    architecture = networks()[0]
    windows = weights.windows(architecture)
    module = weights.module(architecture.graph, windows)
    fill_gradients(module)
    weights.add_gradients(module, windows)
    read = {window.key for window in windows.values()}

    assert all((p.grad is not None) == (key in read) for key, p in weights.parameters.items())


def test_a_network_with_an_array_that_is_not_shared_is_refused(weights: SharedWeights) -> None:
    architecture = networks()[0]
    gone = next(w.key for w in windows_with_weights(weights, architecture))
    shapes = {key: shape for key, shape in weights.store.shapes.items() if key != gone}
    smaller = SharedWeights(SharedStore(shapes, weights.store.roles, 0))

    with pytest.raises(NoSharedWeightsError, match="trained without this array") as caught:
        smaller.windows(architecture)
    assert "\n" not in str(caught.value)


def windows_with_weights(weights: SharedWeights, architecture: Architecture) -> list[SharedWindow]:
    return [w for w in weights.windows(architecture).values() if w.role.is_weight]
