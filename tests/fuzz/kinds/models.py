"""Model folders: metadata, graph and arrays changed, with checksums that are right again."""

import json
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import load, save

from nas.data.splits import Normalization, Splits
from nas.models.examples import check_fits
from nas.models.folder import read_architecture, read_model
from nas.models.metadata import ARCHITECTURE, ARRAYS, METADATA, sha256
from nas.problem.records import DataConfig
from nas.problem.search_problem import load_splits
from search_spaces.graphs.model import random_model
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from search_spaces.space.architecture import read_graph, to_json
from search_spaces.space.space import Architecture
from tests.fuzz.kinds.latency_models import changed
from tests.fuzz.mutations import damaged, dumped, mutated
from tests.fuzz.runner import Kind
from tests.nas.parts.models import small_folder, small_graph


def kind(folder: Path) -> Kind:
    coded = snap_weights(random_model(uniform(small_graph(), W8A8), np.random.default_rng(0)))
    folders = [small_folder(folder / "a"), small_folder(folder / "b", model=coded)]
    samples = [{path.name: path.read_bytes() for path in each.iterdir()} for each in folders]
    place = folder / "mutated"
    place.mkdir()
    splits, _ = load_splits(DataConfig("digits", {}, 100, 100, 200), (8, 8))

    def attempt(rng: Random) -> None:
        files = dict(rng.choice(samples))
        metadata = json.loads(files[METADATA])
        match rng.randrange(4):
            case 0:
                metadata = mutated(metadata, rng)
            case 1:
                metadata["input"] = mutated(metadata["input"], rng)
            case 2:
                files[ARRAYS] = arrays_changed(files[ARRAYS], rng)
            case _:
                files[ARCHITECTURE] = graph_changed(files[ARCHITECTURE], rng)
        if isinstance(metadata, dict) and rng.random() < 0.9:
            named = {name: sha256(files[name]) for name in (ARCHITECTURE, ARRAYS)}
            metadata["files"] = named if rng.random() < 0.9 else mutated(named, rng)
        files[METADATA] = dumped(metadata).encode("utf-8", "surrogatepass")
        for name, content in files.items():
            (place / name).write_bytes(content)
        use(place, splits)

    return Kind("models", attempt)


def use(place: Path, splits: Splits) -> None:
    read_architecture(place)
    stored = read_model(place)
    assert isinstance(stored.input.normalization, Normalization | None)
    check_fits(stored, splits)


def arrays_changed(content: bytes, rng: Random) -> bytes:
    if rng.random() < 0.2:
        return damaged(content, rng)
    arrays = load(content)
    name = rng.choice(sorted(arrays))
    try:
        arrays[name] = np.ascontiguousarray(changed(arrays[name], rng))
        return bytes(save(arrays))
    except Exception:  # a type that such files cannot have
        return damaged(content, rng)


def graph_changed(content: bytes, rng: Random) -> bytes:
    if rng.random() < 0.2:
        return damaged(content, rng)
    graph = read_graph(mutated(json.loads(content)["graph"], rng))
    return json.dumps(to_json(Architecture("mutated", (), graph))).encode()
