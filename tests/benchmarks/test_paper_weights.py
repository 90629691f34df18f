"""Weights that are made as the paper's are kept and coded as its tables say."""

import numpy as np
import pytest

from benchmarks.archives.paper_weights import (
    ALEXNET,
    NETWORKS,
    VGG16,
    PaperLayer,
    entries,
    huffman_bits,
    paper_weights,
)


@pytest.mark.parametrize(
    ("layer", "shape", "index_bits"),
    [
        (ALEXNET["fc6"], (256, 1024), 4),
        (VGG16["fc7"], (256, 1024), 5),
        (VGG16["conv4_2"], (128, 128, 3, 3), 5),
    ],
)
def test_a_layer_keeps_and_takes_what_it_does_in_the_paper(
    layer: PaperLayer, shape: tuple[int, ...], index_bits: int
) -> None:
    weights = paper_weights(shape, layer, index_bits, np.random.default_rng(0))

    values = np.unique(weights, return_inverse=True)[1].reshape(-1)
    symbols = np.where(weights.reshape(-1) == 0, 0, values + 1)
    gaps, coded = entries(symbols, index_bits)
    ranks = np.unique(coded, return_inverse=True)[1]
    percent = 100 * len(gaps) * (huffman_bits(gaps) + huffman_bits(ranks)) / (32 * weights.size)
    assert abs(np.count_nonzero(weights) / weights.size - layer.kept) < 0.01 * layer.kept + 1e-4
    assert len(np.unique(weights)) <= 2**layer.bits + 1
    assert abs(percent - layer.percent) < 0.03 * layer.percent


def test_networks_have_a_row_for_each_of_their_layers() -> None:
    assert {network.name: len(network.layers) for network in NETWORKS} == {
        "alexnet": 8,
        "vgg16": 16,
    }
