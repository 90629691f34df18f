"""Storage: arrays come back as they were, from as few bytes as their codes have bits."""

import numpy as np
import pytest

from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import get_network
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from search_spaces.quantization.storage import packed, restored, stored, unpacked


def lenet(precision: str) -> Model:
    graph = uniform(get_network("lenet5")(), PRECISIONS[precision])
    return random_model(graph, np.random.default_rng(0))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("is_folded", [False, True])
def test_arrays_come_back_bit_for_bit(precision: str, is_folded: bool) -> None:
    model = snap_weights(lenet(precision))
    model = fold_batch_norm(model) if is_folded else model

    found = restored(model.graph, stored(model))

    assert found.arrays.keys() == model.arrays.keys()
    assert all(np.array_equal(found.arrays[name], model.arrays[name]) for name in model.arrays)


@pytest.mark.parametrize(
    ("precision", "bits"), [("w8a8", 8), ("w4a8", 4), ("w2a2", 2), ("bwn", 1)]
)
def test_codes_take_the_bits_that_they_have(precision: str, bits: int) -> None:
    model = snap_weights(lenet(precision))
    kept = stored(model)["linear1.weight"]

    assert kept.dtype == np.uint8
    assert kept.nbytes == model.arrays["linear1.weight"].size * bits // 8


def test_weights_that_are_on_no_grid_stay_as_they_are() -> None:
    model = lenet("w8a8")

    assert np.array_equal(stored(model)["linear1.weight"], model.arrays["linear1.weight"])
    assert restored(model.graph, model.arrays) == Model(model.graph, model.arrays)


def test_an_array_of_the_wrong_size_is_refused() -> None:
    model = snap_weights(lenet("w2a2"))
    arrays = stored(model)
    arrays["linear1.weight"] = arrays["linear1.weight"][:, :-1]

    with pytest.raises(ValueError, match=r"'linear1.weight' of 2 bits has shape"):
        restored(model.graph, arrays)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_rows_of_every_length_are_unpacked_as_they_were_packed(bits: int) -> None:
    for count in range(1, 18):
        codes = np.random.default_rng(count).integers(0, 1 << bits, (3, count)).astype(np.uint8)

        assert np.array_equal(unpacked(packed(codes, bits), bits, count), codes)
