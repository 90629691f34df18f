"""Pool: every kind is timed before one is timed often, nothing twice, and in the end all."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from latency_models.compiler.kernel_text import from_text
from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.device import RUNTIMES, Runtime
from latency_models.prediction.kernel_rows import KernelRows, rows_of
from latency_models.prediction.onnx_features import describe
from latency_models.profiling.pool import MOST_AT_ONCE, Pool, Wanted
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.graphs.precision import get_precision
from tests.latency_models.compiler.test_lower import Sort
from tests.latency_models.parts.profiles import draw


def pool(size: int = 30, seed: int = 0, runtime: Runtime = "tvm") -> Pool:
    return Pool(draw, runtime, AVX2, Random(seed), size)


def take(pool: Pool, most: int = 10**6) -> list[Wanted]:
    """What is chosen, one after another, until all is known."""
    known: dict[str, float] = {}
    taken: list[Wanted] = []
    while len(taken) < most and (wanted := pool.choose(known)) is not None:
        taken.append(wanted)
        known |= dict.fromkeys(wanted.texts, 1.0)
    return taken


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_kernels_are_chosen_once_and_then_nothing(runtime: Runtime) -> None:
    whole = pool(runtime=runtime)

    taken = take(whole)

    texts = [text for wanted in taken for text in wanted.texts]
    assert len(texts) == len(set(texts))
    assert set(texts) == set(whole.texts.values())
    assert whole.choose(dict.fromkeys(texts, 1.0)) is None
    assert whole.count_left(dict.fromkeys(texts, 1.0)) == 0
    assert whole.count_left({}) == len(texts)


def test_what_is_chosen_is_what_it_says() -> None:
    for wanted in take(pool(10)):
        uses = network_kernels(wanted.graph, "tvm", AVX2)
        assert 1 <= len(wanted.indices) <= MOST_AT_ONCE
        for index, text, kind in zip(wanted.indices, wanted.texts, wanted.kinds, strict=True):
            assert uses[index].kernel == from_text(text)
            assert describe(uses[index].kernel, AVX2).kind == kind


def test_every_kind_is_met_early() -> None:
    whole = pool(60)
    kinds = Counter(whole.kinds.values())
    taken = [kind for wanted in take(whole, len(kinds)) for kind in wanted.kinds]

    assert set(taken) == set(kinds)
    # In proportion, the most frequent kind would have had more.
    most = max(kinds.values()) / sum(kinds.values())
    assert max(Counter(taken).values()) / len(taken) < most


def test_the_ends_of_a_kinds_sizes_come_first() -> None:
    whole = pool(60)
    kernels = list(whole.counts)
    table = rows_of([describe(kernel, AVX2) for kernel in kernels])
    ends = set()
    for kind in np.unique(table.kinds):
        own = np.flatnonzero(table.kinds == kind)
        found = (*table.sizes[own].argmin(0), *table.sizes[own].argmax(0))
        ends |= {whole.texts[kernels[own[each]]] for each in found}
    order = [text for wanted in take(whole) for text in wanted.texts]

    places = [place for place, text in enumerate(order) if text in ends]
    assert np.mean(places) < 0.6 * np.mean(range(len(order)))


def test_the_least_and_largest_of_a_kind_are_timed_early() -> None:
    whole = pool(60)
    corners = {whole.texts[kernel] for kernel in whole.corners}
    known: dict[str, float] = {}
    while corners - known.keys():
        wanted = whole.choose(known)
        assert wanted is not None
        known |= dict.fromkeys(wanted.texts, 1.0)
    timed = [index for index, text in enumerate(whole.texts.values()) if text in known]

    assert len(timed) < 0.75 * len(whole.texts)
    for kind in set(whole.kinds.values()):
        own = whole.table.kinds == kind
        every, found = whole.table.sizes[own], whole.table.sizes[timed][own[timed]]
        assert (found.min(0) == every.min(0)).all()
        assert (found.max(0) == every.max(0)).all()


def test_doubtful_kernels_are_wanted_more() -> None:
    whole = pool(60)
    first = list(whole.texts.values())

    def doubts(table: KernelRows) -> np.ndarray:
        return np.where(table.kinds == "conv2d 3x3 fp32", 100.0, 0.01)

    whole.assess(doubts)
    (wanted,) = take(whole, 1)
    assert set(wanted.kinds) >= {"conv2d 3x3 fp32"}
    assert set(wanted.texts) <= set(first)


def test_the_same_seed_chooses_the_same() -> None:
    assert take(pool(seed=3), 5) == take(pool(seed=3), 5)
    assert take(pool(seed=3), 5) != take(pool(seed=4), 5)


def odd(rng: Random) -> Graph:
    """Networks of which every other one cannot run, or overflows."""
    net = GraphBuilder((70000, 1, 1))
    kind = rng.choice(("good", "sorted", "wide"))
    if kind == "sorted":
        net.add("sorted", Sort(), net.input)
    if kind == "wide":
        net.add("wide", Conv2d(4, precision=get_precision("w8a8")), net.input)
    if kind == "good":
        net.add("conv", Conv2d(4), net.input)
    return net.graph()


def test_networks_that_cannot_run_are_left_out() -> None:
    whole = Pool(odd, "tvm", AVX2, Random(0), 40)
    assert 0 < len(whole.graphs) < 30
    assert all(whole.runs(graph) for graph, _ in whole.graphs)
    assert not all(whole.runs(odd(Random(seed))) for seed in range(10))


def test_a_space_of_which_nothing_runs_says_why() -> None:
    net = GraphBuilder((3, 8, 8))
    net.add("sorted", Sort(), net.input)
    with pytest.raises(UserError, match=r"no network of the space runs there: .*'Sort'"):
        Pool(lambda rng: net.graph(), "tvm", AVX2, Random(0), 5)
