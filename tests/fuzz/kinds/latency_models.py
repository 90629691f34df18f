"""Latency models: header and arrays of the wrong kind, shape and range, loaded and asked."""

import json
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np

from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import ModelName
from tests.fuzz.mutations import damaged, dumped, mutated
from tests.fuzz.runner import Kind
from tests.latency_models.parts.profiles import graphs, make_model

TYPES = ("float64", "float32", "float16", "int64", "int16", "uint8", "bool", "complex128", "U8")
NUMBERS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e300, 1e-300, 32767.0)


def kind(folder: Path) -> Kind:
    samples = [make_model(folder / name, model=name) for name in get_args(ModelName)]
    files = [Path(model.save(folder / "kept" / model.name)) for model in samples]
    whole = [file.read_bytes() for file in files]
    networks = graphs(2, seed=5)
    place = folder / "formula" / "model.npz"
    place.parent.mkdir()

    def attempt(rng: Random) -> None:
        at = rng.randrange(len(files))
        if rng.random() < 0.15:
            place.write_bytes(damaged(whole[at], rng))
        else:
            rewrite(files[at], place, rng)
        model = LatencyModel.load("formula", folder)
        model.latencies(networks, extrapolate=True)
        model.explain(networks[0], extrapolate=True)
        json.dumps(model.about)

    return Kind("latency_models", attempt)


def rewrite(file: Path, place: Path, rng: Random) -> None:
    with np.load(file) as read:
        arrays = dict(read)
    if rng.random() < 0.4:
        header = json.loads(arrays["header"].tobytes())
        text = dumped(mutated(header, rng)).encode()
        arrays["header"] = np.frombuffer(text, np.uint8)
    else:
        name = rng.choice([name for name in arrays if name != "header"])
        arrays[name] = changed(arrays[name], rng)
    np.savez(place, **arrays)


def changed(array: np.ndarray[Any, Any], rng: Random) -> np.ndarray[Any, Any]:
    match rng.randrange(6):
        case 0:
            with np.errstate(all="ignore"):
                return array.astype(rng.choice(TYPES))
        case 1:
            return array[..., None] if rng.random() < 0.5 else array.reshape(-1)
        case 2:
            return array[: len(array) // 2]
        case 3:
            return np.concatenate([array, array])
        case 4 if array.ndim > 1:
            return array.T
        case _:
            new = array.astype(np.float64)
            if new.size:
                new.reshape(-1)[rng.randrange(new.size)] = rng.choice(NUMBERS)
            with np.errstate(all="ignore"):
                return new.astype(array.dtype)
