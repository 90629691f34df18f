"""Layers as they are coded: bytes and seconds, one thread."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.forms import Entropy, coded_nodes, model_of, read_section, section_of
from nas.models.archives.paper_form import IndexBits
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear

REPEATS = 3  # of which the fastest counts: the machine may be shared


@dataclass(frozen=True, slots=True)
class Coded:
    """What coding a layer took."""

    size_bytes: int
    encode_s: float
    decode_s: float


def our_coded(
    weights: NDArray[np.float32], entropy: Entropy, index_bits: IndexBits, repeats: int = REPEATS
) -> Coded:
    """Returns what one section of an archive takes, codebook, tables and checksum included."""
    model = Model(graph_of(weights.shape), {"layer.weight": weights})
    nodes = coded_nodes(model.graph)
    encode, decode = [], []
    for _ in range(repeats):
        start = perf_counter()
        section = section_of(model, "layer.weight", None, entropy, index_bits)
        middle = perf_counter()
        kept = read_section(section, "layer.weight", weights.shape, nodes.get("layer.weight"))
        found = model_of(model.graph, {"layer.weight": kept})
        encode.append(middle - start)
        decode.append(perf_counter() - middle)
    assert found.arrays["layer.weight"].tobytes() == weights.tobytes()
    header_and_checksum = 1 + 3 + 4
    return Coded(len(section.body) + header_and_checksum, min(encode), min(decode))


def graph_of(shape: tuple[int, ...]) -> Graph:
    """Returns a network of one layer without bias."""
    net = GraphBuilder((shape[1], 32, 32) if len(shape) > 2 else (shape[1], 1, 1))
    if len(shape) > 2:
        net.add(
            "layer", Conv2d(shape[0], (shape[2], shape[3]), norm="none", bias=False), net.input
        )
    else:
        net.add("layer", Linear(shape[0], bias=False), net.input)
    return net.graph()
