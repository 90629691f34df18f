"""Models: folding batch norms changes no number but by rounding, and leaves none."""

import numpy as np
import pytest

from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.operators import BatchNorm
from search_spaces.quantization.insertion import add_quantizers
from tests import oracle
from tests.latency_models.parts.cases import (
    LOW_BIT,
    low_bit_norms,
    norms_behind,
    pre_activation,
)

GRAPHS = {
    "pre_activation": pre_activation(),
    "norms_behind": norms_behind(),
    **{name: add_quantizers(low_bit_norms(precision)) for name, precision in LOW_BIT.items()},
}


@pytest.mark.parametrize("graph", [pytest.param(g, id=name) for name, g in GRAPHS.items()])
def test_a_folded_model_gives_the_same_numbers(graph: Graph) -> None:
    model = random_model(graph, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, *graph.input_shape))

    folded = fold_batch_norm(model)

    wanted = oracle.run(model, x)[graph.output.name]
    given = oracle.run(folded, x)[folded.graph.output.name]
    # A code at a border may move by one; few do.
    assert np.mean(np.abs(given - wanted) > 1e-5 * np.abs(wanted).max()) <= 0.02
    assert fold_batch_norm(folded).graph == folded.graph


def test_norms_that_join_a_layer_are_gone_and_the_others_are_a_factor_and_a_term() -> None:
    def norms(graph: Graph) -> list[str]:
        folded = fold_batch_norm(random_model(graph, np.random.default_rng(0))).graph
        found = [node for node in folded.nodes if isinstance(node.operator, BatchNorm)]
        assert all(node.operator.norm == "folded" for node in found)  # type: ignore[attr-defined]
        return [node.name for node in found]

    assert norms(norms_behind()) == []
    assert norms(pre_activation()) == ["n1", "n2", "n3"]
