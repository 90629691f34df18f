"""ONNX Runtime sessions: bytes or file, any batch, and a timing call without copies."""

from pathlib import Path

import numpy as np
import pytest

from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import bound_call, open_session, run_session
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d
from tests.latency_models.parts.cases import graph_of, split_and_shuffle


def test_the_batch_is_free() -> None:
    rng = np.random.default_rng(0)
    model = random_model(split_and_shuffle(), rng)
    session = open_session(onnx_model(model).SerializeToString())
    x = rng.normal(size=(3, 8, 6, 6)).astype(np.float32)

    together = run_session(session, x)
    alone = np.concatenate([run_session(session, row[None]) for row in x])

    assert np.allclose(together, alone, atol=1e-6)


def test_a_file_and_its_bytes_are_the_same_model(tmp_path: Path) -> None:
    data = onnx_model(random_model(split_and_shuffle(), np.random.default_rng(0)))
    path = tmp_path / "model.onnx"
    path.write_bytes(data.SerializeToString())
    x = np.ones((1, 8, 6, 6), np.float32)

    from_file = run_session(open_session(path), x)

    assert np.array_equal(from_file, run_session(open_session(data.SerializeToString()), x))


def test_the_timing_call_runs_again_and_again() -> None:
    model = random_model(graph_of((3, 8, 8), Conv2d(4)), np.random.default_rng(0))
    session = open_session(onnx_model(model).SerializeToString())

    x = np.ones((1, 3, 8, 8), np.float32)

    call = bound_call(session, x)

    for _ in range(3):
        assert np.array_equal(call().numpy(), run_session(session, x))


def test_a_damaged_file_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"not a model")

    with pytest.raises(UserError, match=r"cannot load .*damaged\.onnx"):
        open_session(path)
