"""What an archive takes adds up to the file, and is what a hand counts."""

from pathlib import Path

import numpy as np
import pytest

from nas.models.archives.archive import archive_bytes, write_archive
from nas.models.archives.estimate import estimated_bytes
from nas.models.archives.forms import Entropy
from nas.models.archives.info import archive_info
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import get_network
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from tests.nas.parts.archives import shared_model, stored_model
from tests.nas.parts.models import small_graph

ENTROPIES: tuple[Entropy, ...] = ("huffman", "ans")


def lenet() -> Model:
    return shared_model(get_network("lenet5")(num_classes=10), density=0.1, values=32)


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_bytes_of_head_and_arrays_are_the_file(entropy: Entropy, tmp_path: Path) -> None:
    model, path = lenet(), tmp_path / "lenet.hwz"
    write_archive(path, stored_model(model), entropy)

    info = archive_info(path)

    assert info.head_bytes + sum(array.size_bytes for array in info.arrays) == info.total_bytes
    assert info.total_bytes == path.stat().st_size
    assert info.weights == sum(array.size for array in model.arrays.values())
    assert info.float_bytes == sum(array.nbytes for array in model.arrays.values())
    assert info.ratio == info.float_bytes / info.total_bytes
    assert [array.name for array in info.arrays] == list(model.graph.array_shapes())


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_a_layer_is_told_as_the_paper_tells_it(entropy: Entropy, tmp_path: Path) -> None:
    model, path = lenet(), tmp_path / "lenet.hwz"
    write_archive(path, stored_model(model), entropy)
    weights = max(model.arrays.values(), key=np.size)

    layer = max(archive_info(path).arrays, key=lambda array: array.weights)

    assert layer.shape == weights.shape
    assert layer.kept == np.count_nonzero(weights)
    assert abs(layer.density - 0.1) < 0.001
    assert layer.value_bits == (len(np.unique(weights)) - 2).bit_length()
    assert 0 < layer.coded_value_bits < layer.value_bits
    bits = layer.entries * (layer.coded_value_bits + layer.coded_index_bits)
    parts = bits / 8 + layer.table_bytes
    assert layer.size_bytes - 9 <= round(parts) < layer.size_bytes
    if entropy == "huffman":
        assert layer.index_bits == 5
        assert layer.entries > layer.kept
    else:
        assert layer.index_bits is None
        assert layer.entries == layer.kept


def test_arrays_that_are_not_coded_have_all_their_bits(tmp_path: Path) -> None:
    path = tmp_path / "small.hwz"
    write_archive(path, stored_model(shared_model(small_graph())), "huffman")

    bias = next(each for each in archive_info(path).arrays if each.name == "classifier.bias")

    assert (bias.form, bias.value_bits, bias.coded_value_bits) == ("floats", 32, 32)
    assert (bias.index_bits, bias.coded_index_bits, bias.table_bytes) == (None, 0, 0)
    assert bias.size_bytes == 1 + 1 + 4 * 10 + 4


def test_info_of_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "small.hwz"
    content = archive_bytes(stored_model(shared_model(small_graph())))
    path.write_bytes(content[:-9])

    with pytest.raises(UserError, match=r"small\.hwz is no whole archive"):
        archive_info(path)


@pytest.mark.parametrize(
    "model",
    [
        lenet(),
        shared_model(get_network("lenet5")(num_classes=10), density=0.5, values=200),
        snap_weights(
            random_model(
                uniform(get_network("resnet18")(width=0.25, num_classes=10), PRECISIONS["w8a8"]),
                np.random.default_rng(0),
            )
        ),
        random_model(get_network("lenet5")(num_classes=10), np.random.default_rng(0)),
    ],
    ids=["pruned", "shared", "coded", "float32"],
)
def test_an_estimate_is_near_the_true_size(model: Model) -> None:
    true = len(archive_bytes(stored_model(model)))

    assert 0.9 < estimated_bytes(model) / true < 1.1
