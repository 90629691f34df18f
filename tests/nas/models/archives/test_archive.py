"""An archive gives every network back bit for bit, whatever its arrays hold."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.archives.archive import archive_bytes, read_archive, read_content, write_archive
from nas.models.archives.forms import ArrayForm, Entropy, coded_nodes, section_of
from nas.models.archives.paper_form import IndexBits
from nas.models.folder import ModelInput, StoredModel, fingerprint
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import NETWORKS
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.archives import assert_same_bits, shared_array, shared_model, stored_model
from tests.nas.parts.models import small_graph, small_model
from tests.search_spaces.compression.random_graphs import graphs

ENTROPIES: tuple[Entropy, ...] = get_args(Entropy)
PLACE = Path("network.hwz")


def again(model: Model, entropy: Entropy) -> Model:
    return read_content(PLACE, archive_bytes(stored_model(model), entropy)).model


def linear(features: int, outputs: int) -> Graph:
    net = GraphBuilder((features, 1, 1))
    net.add("fc", Linear(outputs), net.input)
    return net.graph()


def of_weights(weights: np.ndarray) -> Model:
    """A linear layer with these weights (O, features)."""
    graph = linear(weights.shape[1], weights.shape[0])
    return Model(
        graph, {"fc.weight": weights.astype(np.float32), "fc.bias": np.zeros(len(weights), "f4")}
    )


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_what_is_known_of_a_network_comes_back_with_it(entropy: Entropy, tmp_path: Path) -> None:
    stored = small_model()
    path = tmp_path / "small.hwz"

    write_archive(path, stored, entropy)
    found = read_archive(path)

    assert_same_bits(found.model, stored.model)
    assert replace(found, model=stored.model) == stored
    assert fingerprint(found.model) == fingerprint(stored.model)
    assert graph_hash(found.model.graph) == graph_hash(stored.model.graph)


def test_letters_of_any_language_and_every_setting_of_an_input_come_back() -> None:
    given = ModelInput("bild", (0.1,), (1 / 3,), (1, 30, 40), "crop", "white")
    names = tuple(f"Größe {number} 数" for number in range(10))
    stored = replace(small_model(), input=given, class_names=names, source={"a": [1, {"b": None}]})

    found = read_content(PLACE, archive_bytes(stored))

    assert replace(found, model=stored.model) == stored


@pytest.mark.parametrize("entropy", ENTROPIES)
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=str)
@pytest.mark.parametrize("folded", [False, True])
def test_every_precision_comes_back_as_codes(
    precision: object, entropy: Entropy, folded: bool
) -> None:
    graph = uniform(small_graph(), precision)  # type: ignore[arg-type]
    model = snap_weights(random_model(graph, np.random.default_rng(1)))
    model = fold_batch_norm(model) if folded else model

    assert_same_bits(again(model, entropy), model)


def test_coded_layers_are_kept_as_codes_and_not_as_a_codebook() -> None:
    graph = uniform(small_graph(), PRECISIONS["w4a8"])
    model = snap_weights(random_model(graph, np.random.default_rng(0)))
    nodes = coded_nodes(graph)

    forms = {
        name: ArrayForm(section_of(model, name, node, "ans", IndexBits()).form)
        for name, node in nodes.items()
    }

    assert forms == dict.fromkeys(nodes, ArrayForm.CODES_ANS)


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_coded_weights_off_their_grid_stay_as_they_are(entropy: Entropy) -> None:
    model = random_model(uniform(small_graph(), PRECISIONS["w8a8"]), np.random.default_rng(0))

    assert_same_bits(again(model, entropy), model)


@pytest.mark.sweep(5)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_network_comes_back(name: str) -> None:
    least = {"alexnet": 63, "vgg16": 32}.get(name, 32)
    width = {"lenet5": 1.0, "lenet_300_100": 1.0, "shufflenet_v2": 0.5}.get(name, 0.125)
    graph = NETWORKS[name](width=width, resolution=least, num_classes=10)
    model = shared_model(graph)

    for entropy in ENTROPIES:
        assert_same_bits(again(model, entropy), model)


@settings(max_examples=30, deadline=None)
@given(graphs(), st.floats(0.01, 1), st.integers(1, 40), st.sampled_from(ENTROPIES))
def test_random_networks_come_back(
    graph: Graph, density: float, values: int, entropy: Entropy
) -> None:
    model = shared_model(graph, density, values)
    try:
        stored = stored_model(model)
    except UserError:
        return  # no classifier

    assert_same_bits(read_content(PLACE, archive_bytes(stored, entropy)).model, model)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 90))
contents = st.sampled_from(("zero", "one value", "all distinct", "few", "signs", "odd"))


@settings(max_examples=60, deadline=None)
@given(shapes, contents, st.integers(0, 1 << 16), st.sampled_from(ENTROPIES))
def test_whatever_weights_hold_comes_back(
    shape: tuple[int, int], content: str, seed: int, entropy: Entropy
) -> None:
    rng = np.random.default_rng(seed)
    weights = {
        "zero": np.zeros(shape),
        "one value": np.full(shape, -0.3),
        "all distinct": rng.normal(size=shape),
        "few": rng.integers(-3, 4, shape) * 0.1,
        "signs": np.where(rng.random(shape) < 0.5, -0.0, 0.0),
        "odd": rng.choice([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0], shape),
    }[content]
    model = of_weights(weights)

    assert_same_bits(again(model, entropy), model)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(st.integers(1, 7) for _ in range(4))),
    st.floats(0, 1),
    st.integers(1, 300),
    st.sampled_from(ENTROPIES),
)
def test_convolutions_of_any_shape_come_back(
    shape: tuple[int, int, int, int], density: float, values: int, entropy: Entropy
) -> None:
    net = GraphBuilder((shape[1], 8, 8))
    x = net.add("conv", Conv2d(shape[0], (shape[2] | 1, shape[3] | 1)), net.input)
    net.add("pool", GlobalAvgPool(), x)
    model = shared_model(net.graph(), density, values)

    assert_same_bits(again(model, entropy), model)


def test_negative_zeros_are_kept() -> None:
    model = of_weights(np.where(np.arange(64).reshape(8, 8) % 3, -0.0, 0.5))

    found = again(model, "ans")

    assert (
        np.signbit(found.arrays["fc.weight"]).sum() == np.signbit(model.arrays["fc.weight"]).sum()
    )


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_compute_nothing_are_refused(number: float) -> None:
    weights = np.ones((3, 5))
    weights[1, 2] = number

    with pytest.raises(UserError, match=r"'fc\.weight' must hold finite numbers"):
        archive_bytes(stored_model(of_weights(weights)))


def test_a_source_that_json_does_not_have_is_refused() -> None:
    for source in ({"x": float("nan")}, {"x": {1, 2}}):
        with pytest.raises(UserError, match="must be JSON data"):
            archive_bytes(replace(small_model(), source=source))


def test_writing_the_same_network_twice_gives_the_same_bytes() -> None:
    stored = stored_model(shared_model(small_graph()))

    for entropy in ENTROPIES:
        assert archive_bytes(stored, entropy) == archive_bytes(stored, entropy)


def test_a_network_is_smaller_with_contexts_than_with_huffman_than_as_float32() -> None:
    weights = shared_array((200, 300), 0.1, 32, np.random.default_rng(0))
    stored = stored_model(of_weights(weights))

    ans, huffman = (len(archive_bytes(stored, entropy)) for entropy in ("ans", "huffman"))

    assert ans < 0.97 * huffman
    assert huffman < weights.nbytes / 20


def test_widths_of_indices_are_those_asked_for() -> None:
    stored = stored_model(of_weights(shared_array((100, 100), 0.05, 8, np.random.default_rng(0))))
    sizes = {
        width: len(archive_bytes(stored, "huffman", IndexBits(linear=width)))
        for width in (1, 4, 8)
    }

    assert sizes[4] < sizes[1]
    for width in (0, 13):
        with pytest.raises(UserError, match="indices must have 1 to 12 bits"):
            IndexBits(linear=width)


def test_a_network_of_nothing_but_zeros_is_refused_where_it_would_read_as_a_bomb() -> None:
    model = of_weights(np.zeros((8, 1 << 20)))

    with pytest.raises(UserError, match="nearly all of its weights are zero"):
        archive_bytes(stored_model(model))


def test_an_archive_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read archive .*none\.hwz: No such file"):
        read_archive(tmp_path / "none.hwz")


def test_a_model_is_a_stored_model() -> None:
    found = read_content(PLACE, archive_bytes(small_model()))

    assert isinstance(found, StoredModel)
    assert all(array.dtype == np.float32 for array in found.model.arrays.values())
    assert all(array.flags.writeable for array in found.model.arrays.values())
