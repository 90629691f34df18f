"""Exported: networks as ONNX files, and what ONNX Runtime computes with them."""

import numpy as np
from onnx import ModelProto

from benchmarks.numbers.figures import Figure, digest
from benchmarks.numbers.subjects import blocks, few_networks, small_published
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model

VERSION = "hwnas.version"


def seeded(graph: Graph) -> Model:
    return random_model(graph, np.random.default_rng(5))


def seeded_input(graph: Graph) -> np.ndarray:
    shape = (1, *graph.input_shape)
    return np.random.default_rng(6).normal(size=shape).astype(np.float32)


def onnx_figures() -> dict[str, Figure]:
    return {
        "files": {name: file_digest(seeded(graph)) for name, graph in blocks().items()},
        "exact files": {
            name: file_digest(seeded(graph), exact=True)
            for name, graph in small_published().items()
        },
        "outputs": {name: output_digest(graph) for name, graph in few_networks().items()},
    }


def file_digest(model: Model, exact: bool = False) -> str:
    return digest(
        without_version(onnx_model(model, exact=exact)).SerializeToString(deterministic=True)
    )


def without_version(proto: ModelProto) -> ModelProto:
    """Returns a file that does not say by which version it was made."""
    kept = [row for row in proto.metadata_props if row.key != VERSION]
    assert len(kept) == len(proto.metadata_props) - 1
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    proto.producer_version = ""
    return proto


def output_digest(graph: Graph) -> str:
    session = open_session(onnx_model(seeded(graph)).SerializeToString())
    return digest(run_session(session, seeded_input(graph)))
