"""Whatever kernels a network is lowered to, their times have a row and a key."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_models.compiler.library import tile_choice
from latency_models.compiler.lower import lower
from latency_models.devices.cpu import Cpu
from latency_models.measurement.layer_table import LayerTimes, layer_rows, rows_of_nodes
from nas.evaluation.kernel_table import kernel_keys
from search_spaces.blocks import BLOCKS
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.space.space import sample
from tests.search_spaces.quantization.coded import CODED, chain

CPU = Cpu("x86-64-v3")
OTHERS = [name for name in BLOCKS if name != "skip"]


def check_names(graph: Graph) -> None:
    model = fold_batch_norm(random_model(graph, np.random.default_rng(0)))
    network = lower(model, CPU.vector_unit, tile_choice(CPU, tuned=False))

    rows = rows_of_nodes(graph)
    timed = {rows[step.node] for step in network.steps}

    assert timed <= kernel_keys(graph).keys()
    shown = layer_rows(graph, LayerTimes(dict.fromkeys(timed, 1.0)))
    assert timed == {row.name for row in shown if row.ms is not None}


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kernel_of_every_block_has_a_row(precision: str) -> None:
    for name in OTHERS:
        for stride, width in ((1, 32), (2, 64)):
            block = BLOCKS[name]()
            check_names(chain(block, block, precision=precision, stride=stride, width=width))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_kernel_of_a_mixed_network_has_a_row(seed: int) -> None:
    check_names(sample(CODED, Random(seed)).graph)
