"""Transferred: a device known from a few networks and the models of two others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.numbers.figures import Figure, arrays_digest, digest, steady
from benchmarks.numbers.predicted import about, in_short
from benchmarks.numbers.subjects import drawn
from benchmarks.transfer.model import fit_transfer
from benchmarks.transfer.tokens import token_features
from latency_models.devices.cpu import AVX2
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import read_model
from latency_models.transfer.model import TransferredModel, load_latency_model, source_table
from latency_models.transfer.model_file import Transfer, describe_source
from latency_models.transfer.networks import network_features
from latency_models.transfer.profiles import learn_profiles
from latency_models.transfer.samples import choose_samples
from tests.latency_models.parts.profiles import (
    CONDITIONS,
    graphs,
    measured,
    network_ms,
    write_profile,
)

Array = NDArray[np.float64]
MEASURED, ASKED = 12, 20


def transfer_figures(folder: Path) -> dict[str, Figure]:
    return {"networks": network_figures(folder), "table": table_figures()}


def make_source(folder: Path, name: str, factor: float, seed: int) -> LatencyModel:
    conditions = replace(CONDITIONS, device=name)
    place = write_profile(folder, 20, conditions, factor, seed=seed)
    fit_latency_model(place, AVX2, "lookup").save(folder)
    return LatencyModel.load(name, folder)


def network_figures(folder: Path) -> dict[str, Figure]:
    """A model as ``nas device transfer`` makes it, of measurements that a formula gives."""
    sources = make_source(folder, "one", 1.0, 3), make_source(folder, "two", 2.5, 4)
    pool = graphs(80, seed=11)
    table, there, far = source_table(sources, pool)
    profiles = learn_profiles(table.sources_ms, (table.features,))
    rows = choose_samples(profiles, MEASURED, np.random.default_rng(0))
    times = [blend_ms(pool[int(there[row])]) for row in rows]
    about_it = {
        **{"device": "new", "model": "transferred", "runtime": "tvm", "drift": 1.0},
        "sources": [describe_source(source) for source in sources],
    }
    model = TransferredModel(Transfer(about_it, sources, table, rows, np.array(times)))
    header, arrays = read_model(model.save(folder))
    more = [(graph, measured(blend_ms(graph))) for graph in graphs(4, seed=5)]
    again = load_latency_model("new", folder)
    asked = graphs(ASKED, seed=99)
    return {
        "chosen": rows.tolist(),
        "far": far.tolist(),
        "features": digest(network_features([each.graph for each in drawn()])),
        "header": digest(steady(header)),
        "arrays": arrays_digest(arrays),
        "about": steady(dict(model.about)),
        "weights": list(model.weights()),
        "latencies": [in_short(latency) for latency in model.latencies(asked)],
        "read back": [in_short(latency) for latency in again.latencies(asked)],
        "refitted": [in_short(latency) for latency in model.refitted(more).latencies(asked)],
        "explained": about(model.explain(asked[0])),
    }


def blend_ms(graph: object) -> float:
    return 1.7 * network_ms(graph) ** 0.9  # type: ignore[arg-type]


def table_figures() -> dict[str, Figure]:
    """A table of cells whose operators cost something on every device."""
    rng = np.random.default_rng(8)
    choices = rng.integers(0, 4, (200, 6))
    features = token_features([", ".join(map(str, row)) for row in choices])
    costs = np.exp(rng.normal(0, 1, (4, 1)) + 0.5 * rng.normal(0, 1, (4, 5)))
    counts: Array = (choices[:, :, None] == np.arange(4)).sum(1).astype(np.float64)
    times = 0.5 + counts @ costs
    profiles = learn_profiles(times[:, :-1], features)
    rows = choose_samples(profiles, 10, np.random.default_rng(1))
    fitted = fit_transfer(profiles, rows, times[rows, -1])
    found = fitted.predict(*profiles.rows(np.arange(200)))
    return {
        "chosen": rows.tolist(),
        "features": [digest(part) for part in features],
        "predicted": {name: digest(part) for name, part in found._asdict().items()},
        "first": [float(each) for each in found.median_ms[:10]],
    }
