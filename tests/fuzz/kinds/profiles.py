"""Profiles: tables with columns and values of the wrong kind, read and fitted to."""

from pathlib import Path
from random import Random
from shutil import copytree, rmtree

import pandas as pd

from latency_models.devices.cpu import AVX2
from latency_models.prediction.fitting import fit_latency_model
from tests.fuzz.mutations import damaged, mangled
from tests.fuzz.runner import Kind
from tests.latency_models.parts.profiles import make_model

ODD = (None, float("nan"), float("inf"), -1.0, 0.0, 1e300, 3, "x", "", True, b"x", [1], {"a": 1})


def kind(folder: Path) -> Kind:
    make_model(folder, model="roofline")
    right = next(path.parent for path in folder.rglob("kernels-*.parquet"))
    place = folder / "tried" / "formula"

    def attempt(rng: Random) -> None:
        rmtree(place, ignore_errors=True)
        copytree(right, place)
        path = rng.choice(sorted(place.glob("*.parquet")))
        if rng.random() < 0.2:
            path.write_bytes(damaged(path.read_bytes(), rng))
        else:
            rewrite(path, rng)
        fit_latency_model(place, AVX2, "roofline")

    return Kind("profiles", attempt)


def rewrite(path: Path, rng: Random) -> None:
    table = pd.read_parquet(path)
    name, row = rng.choice(list(table.columns)), rng.randrange(len(table))
    match rng.randrange(5):
        case 0:
            del table[name]
        case 1:
            table[name] = table[name].astype(str)
        case 2:
            table[name] = pd.Series([rng.choice(ODD)] * len(table), dtype=object)
        case 3:
            texts = table["text"].to_list()
            texts[row] = mangled(texts[row], rng)
            table["text"] = texts
        case _:
            values = table[name].astype(object).to_list()
            values[row] = rng.choice(ODD)
            table[name] = pd.Series(values, dtype=object)
    try:
        table.to_parquet(path, index=False)
    except Exception:  # parquet has no such column
        path.write_bytes(b"")
