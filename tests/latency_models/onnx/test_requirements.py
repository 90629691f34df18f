"""Requirements: a file says what it asks of a runtime."""

import numpy as np
import pytest

from latency_models.onnx.model import onnx_model
from latency_models.onnx.requirements import Requirements, requirements
from search_spaces.graphs.model import random_model
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.networks import get_network
from search_spaces.quantization.reprecision import uniform


@pytest.mark.parametrize(
    ("precision", "exact", "wanted"),
    [
        ("fp32", False, Requirements(18, 8, "1.15", None)),
        ("w8a8", True, Requirements(18, 8, "1.15", None)),
        ("w4a8", True, Requirements(21, 10, "1.23", None)),
        ("w4a4", True, Requirements(21, 10, "1.24", None)),
        ("w2a2", False, Requirements(18, 8, "1.24", None)),
    ],
)
def test_the_operator_that_was_learnt_last_decides(
    precision: str, exact: bool, wanted: Requirements
) -> None:
    graph = uniform(get_network("lenet5")(), PRECISIONS[precision])
    model = random_model(graph, np.random.default_rng(0))

    assert requirements(onnx_model(model, exact=exact)) == wanted


def test_a_fixed_batch_is_told() -> None:
    model = random_model(get_network("lenet5")(), np.random.default_rng(0))

    assert requirements(onnx_model(model, batch=7)).batch == 7
