"""Subjects: the networks and vector units that figures are taken of."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from latency_models.devices.cpu import AVX2, AVX512, GENERIC, NEON, VectorUnit
from nas.evaluation.drawing import read_space
from search_spaces.blocks import BLOCKS
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.layer import Layer
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import PRECISIONS, Precision, get_precision
from search_spaces.networks import NETWORKS, get_network
from search_spaces.quantization.reprecision import uniform
from search_spaces.space.space import Architecture, sample
from search_spaces.space.staged import StagedSpace

MIXED = Path(__file__).parents[1] / "spaces" / "mixed.yaml"
DRAWN, SEED = 24, 2024
UNITS: Mapping[str, VectorUnit] = {
    "avx512 vnni popcnt": replace(AVX512, dot="vpdpbusd", popcount=True),
    "avx512": replace(AVX512, dot="pmaddwd"),
    "avx2": replace(AVX2, dot="pmaddwd"),
    "x86-64": replace(GENERIC, dot="pmaddwd"),
    "aarch64": NEON,
    "aarch64 dotprod": replace(NEON, dot="sdot"),
}


@cache
def mixed_space() -> StagedSpace:
    return read_space(MIXED, 3, 10)


@cache
def drawn() -> tuple[Architecture, ...]:
    """Random architectures with every block, prune ratio and precision."""
    rng = Random(SEED)
    return tuple(sample(mixed_space(), rng) for _ in range(DRAWN))


@cache
def published() -> Mapping[str, Graph]:
    return {name: network() for name, network in NETWORKS.items()}


@cache
def small_published() -> Mapping[str, Graph]:
    """Published networks of a size that is soon compiled, at several precisions."""
    mobile = get_network("mobilenet_v2")(width=0.25, resolution=32, num_classes=10)
    squeeze = get_network("squeezenet_1_1")(width=0.25, resolution=48, num_classes=10)
    return {
        "mobilenet_v2 fp32": mobile,
        "mobilenet_v2 w8a8": uniform(mobile, get_precision("w8a8")),
        "squeezenet_1_1 fp32": squeeze,
        "squeezenet_1_1 w4a4": uniform(squeeze, get_precision("w4a4")),
    }


def block_network(name: str, precision: Precision) -> Graph:
    """A block at its first settings, striding and then not, between a stem and a classifier."""
    kind = BLOCKS[name]
    block = kind(**{choice.name: choice.values[0] for choice in kind.choices})
    net = GraphBuilder((3, 12, 12))
    x = net.add("stem", Conv2d(32, (3, 3)), net.input)
    stride = 1 if name == "skip" else 2
    for index, each in enumerate((stride, 1)):
        with net.scope(f"block{index}"):
            width = 32 if name == "skip" else 64
            x = block.add_to(net, x, Layer(width, each, precision=precision, round_to=32))
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10), x)
    return net.graph()


@cache
def blocks() -> Mapping[str, Graph]:
    return {
        f"{name} {precision.name}": block_network(name, precision)
        for name in BLOCKS
        for precision in PRECISIONS.values()
    }


@cache
def every_network() -> Mapping[str, Graph]:
    return {
        **{f"published {name}": graph for name, graph in published().items()},
        **{f"small {name}": graph for name, graph in small_published().items()},
        **{f"drawn {index:02}": each.graph for index, each in enumerate(drawn())},
        **{f"block {name}": graph for name, graph in blocks().items()},
    }


@cache
def few_networks() -> Mapping[str, Graph]:
    """Those that are compiled: small, of every precision and most blocks."""
    own = blocks()
    chosen = {
        f"block {name}": own[name]
        for name in (
            *("shuffle_v1 fp32", "ghost w8a8", "residual_basic w4a8", "fire w4a4"),
            *("plain w2a2", "shuffle_v2 w1a2", "inverted_residual bwn", "residual_basic xnor"),
            "plain xnor_k",
        )
    }
    mine = {f"drawn {index:02}": drawn()[index].graph for index in (0, 1)}
    return {**chosen, **mine, "small mobilenet_v2": small_published()["mobilenet_v2 w8a8"]}
