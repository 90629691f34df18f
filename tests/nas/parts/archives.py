"""Networks that are pruned and shared as archives expect them, and archives changed on purpose."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.container import Archive, Section, file_bytes
from nas.models.folder import StoredModel
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from tests.nas.parts.models import small_model

Floats = NDArray[np.float32]


def shared_array(
    shape: tuple[int, ...], density: float, values: int, rng: np.random.Generator
) -> Floats:
    """Returns drawn numbers of which so many are not zero, each one of a few values."""
    drawn = rng.laplace(size=shape)
    drawn[np.abs(drawn) < np.quantile(np.abs(drawn), 1 - density)] = 0
    step = 2 * np.abs(drawn).max() / max(values, 1)
    return (np.sign(drawn) * np.ceil(np.abs(drawn) / step) * step).astype(np.float32)


def shared_model(graph: Graph, density: float = 0.3, values: int = 16, seed: int = 0) -> Model:
    """Returns a network whose arrays of more than one axis are pruned and shared."""
    rng = np.random.default_rng(seed)
    model = random_model(graph, rng)
    arrays = {
        name: shared_array(array.shape, density, values, rng) if array.ndim > 1 else array
        for name, array in model.arrays.items()
    }
    return Model(graph, arrays)


def stored_model(model: Model) -> StoredModel:
    """Returns a network with a name, and nothing else that is known."""
    small = small_model()
    plain = replace(small.input, mean=None, std=None)
    return StoredModel("a network", model, plain, None, small.source)


def assert_same_bits(one: Model, other: Model) -> None:
    """Fails unless the arrays of two models are equal bit for bit, and their graphs."""
    assert one.graph == other.graph
    assert {name: (a.shape, a.dtype, a.tobytes()) for name, a in one.arrays.items()} == {
        name: (a.shape, a.dtype, a.tobytes()) for name, a in other.arrays.items()
    }


def opened(content: bytes, count: int) -> tuple[bytes, list[Section]]:
    """Returns the head and the sections of an archive of so many arrays, still coded."""
    archive = Archive(content)
    return archive.head, [archive.section(str(index)) for index in range(count)]


def sealed(head: bytes, sections: list[Section]) -> bytes:
    """Returns an archive of what ``opened`` gave, with checksums that are right again."""
    return file_bytes(head, sections)
