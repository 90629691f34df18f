"""Small trained networks as model folders, for what takes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.models.folder import ModelInput, StoredModel, write_model
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear, Shape

CLASSES = tuple(f"digit {number}" for number in range(10))


def small_graph(shape: Shape = (1, 8, 8), classes: int = 10, width: int = 8) -> Graph:
    net = GraphBuilder(shape)
    x = net.add("stem", Conv2d(width, (3, 3), (2, 2), norm="batch", activation="relu"), net.input)
    x = net.add("body", Conv2d(width, (3, 3), norm="batch", activation="relu"), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(classes), x)
    return net.graph()


def small_model(
    shape: Shape = (1, 8, 8),
    classes: int = 10,
    **known: Any,  # noqa: ANN401
) -> StoredModel:
    """A network with drawn weights, which nobody has trained."""
    model = random_model(small_graph(shape, classes), np.random.default_rng(0))
    channels = shape[0]
    given = ModelInput(mean=(0.4,) * channels, std=(0.3,) * channels)
    source = {"from": "import", "file": "small.onnx", "sha256": "0" * 64}
    names = CLASSES if classes == 10 else None
    return replace(StoredModel("small", model, given, names, source), **known)


def small_folder(path: Path, **known: Any) -> Path:  # noqa: ANN401
    """Writes such a network, and returns where."""
    write_model(path, small_model(**known))
    return path
