"""Architecture files: what loading accepts can be costed, planned, quantized and exported."""

import json
from math import prod
from pathlib import Path
from random import Random

import numpy as np

from latency_models.compiler.plan import plan_kernels
from latency_models.devices.cpu import AVX2, AVX512, NEON
from latency_models.measurement.layer_table import layer_rows
from latency_models.onnx.model import onnx_model
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import fold_batch_norm, random_model
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.reprecision import full_precision, uniform
from search_spaces.space.architecture import graph_hash, load_architecture, read_graph, to_json
from search_spaces.space.space import Architecture, sample
from tests.fuzz.mutations import json_text, mutated
from tests.fuzz.runner import Kind
from tests.search_spaces.quantization.coded import CODED

LARGE = 200_000  # numbers in all arrays; beyond, nothing is exported here


def kind(folder: Path) -> Kind:
    samples = [to_json(sample(CODED, Random(seed))) for seed in range(8)]
    path = folder / "architecture.json"

    def attempt(rng: Random) -> None:
        data = rng.choice(samples)
        if rng.random() < 0.7:  # deeper in: a graph whose hash is right again
            graph = read_graph(mutated(data["graph"], rng))
            text = json.dumps(to_json(Architecture("mutated", (), graph)))
        else:
            text = json_text(data, rng)
        path.write_text(text, errors="surrogatepass")
        use(load_architecture(path).graph, rng)

    return Kind("architectures", attempt)


def use(graph: Graph, rng: Random) -> None:
    network_cost(graph)
    graph_hash(graph)
    layer_rows(graph)
    for each in (full_precision(graph), uniform(graph, W8A8)):
        network_cost(each)
    plan_kernels(graph, rng.choice((AVX2, AVX512, NEON)))
    if sum(map(prod, graph.array_shapes().values())) <= LARGE:
        model = random_model(graph, np.random.default_rng(0))
        onnx_model(fold_batch_norm(model))
