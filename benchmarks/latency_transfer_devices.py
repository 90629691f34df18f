"""Latency on a device from a few measured networks and other devices' profiles.

Each profiled device in turn is the new one, the others are sources. K of the networks that were
measured for its profile are chosen actively; its other readings are not looked at. Scored are the
networks of ``benchmarks.latency_prediction`` that are in no profile, at the usual drift of the
profile. Rows are means over seeds; each draws another pool to choose from.

Beside the transferred model stand the source that agrees best with the K, scaled to them, and a
line through the multiply-accumulates of the K.

    python -m benchmarks.latency_transfer_devices --folder runs/latency_prediction
"""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency_prediction import scores
from benchmarks.report import print_table, write_json
from latency_models.measurement.readings import latest, read_readings
from latency_models.prediction.fitting import at_drift, current, usual_drift
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import FILE, devices_with
from latency_models.transfer.anchored import Table, fit_anchored, rank_correlation
from latency_models.transfer.device_transfer import POOL_SIZE
from latency_models.transfer.model import source_table
from latency_models.transfer.profiles import Indices, learn_profiles
from latency_models.transfer.samples import choose_samples
from search_spaces.graphs.cost import network_cost
from search_spaces.space.architecture import read_graph

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SAMPLES = (5, 10, 20, 50)
SHOWN = ("mape", "within_10", "spearman", "coverage_90", "half_width")


@dataclass(frozen=True, slots=True)
class Networks:
    """Measured networks of a device.

    Attributes:
        table: What sources say of them.
        macs: Their multiply-accumulates.
        median_ms: What they took, at the usual drift.
    """

    table: Table
    macs: Floats
    median_ms: Floats


def networks_of(
    readings: "pd.DataFrame", drift: float, models: Sequence[LatencyModel]
) -> Networks:
    """Returns measured networks as the sources see them."""
    known = latest(at_drift(readings, drift))
    graphs = [read_graph(json.loads(text)) for text in known["text"]]
    table, there, _ = source_table(models, graphs)
    macs = np.array([network_cost(graphs[index]).macs for index in there], np.float64)
    return Networks(table, macs, known["median_ms"].to_numpy(np.float64)[there])


def transferred(seen: Networks, rows: Indices, pool: Indices, asked: Networks) -> dict[str, float]:
    """Scores of the transferred model after measuring ``rows``."""
    places = np.searchsorted(pool, rows)
    model = fit_anchored(seen.table.rows(pool), places, seen.median_ms[rows])
    median_ms, low_ms, high_ms = model.predict(asked.table)
    inside = (low_ms <= asked.median_ms) & (asked.median_ms <= high_ms)
    return {
        **scores(median_ms, asked.median_ms),
        "coverage_90": float(inside.mean()),
        "half_width": float(np.median(high_ms / median_ms - 1)),
    }


def best_source(seen: Networks, rows: Indices, asked: Networks) -> dict[str, float]:
    """Scores of the source that agrees best with the measured networks, scaled to them."""
    there, here = seen.table.sources_ms[rows], seen.median_ms[rows]
    best = int(np.argmax([rank_correlation(column, here) for column in there.T]))
    factor = float(np.median(here / there[:, best]))
    return scores(factor * asked.table.sources_ms[:, best], asked.median_ms)


def macs_line(seen: Networks, rows: Indices, asked: Networks) -> dict[str, float]:
    """Scores of a line through the MACs of the measured networks, of least relative errors."""
    here = seen.median_ms[rows]
    columns = np.column_stack([np.ones(len(rows)), seen.macs[rows]]) / here[:, None]
    line, *_ = np.linalg.lstsq(columns, np.ones(len(rows)), rcond=None)
    predicted = np.maximum(line[0] + line[1] * asked.macs, 0.1 * here.min())
    return scores(predicted, asked.median_ms)


def benchmark_device(
    device: str, sources: Sequence[str], folder: Path, seeds: int
) -> list[dict[str, Any]]:
    """Returns a row for each number of samples and each model."""
    models = [LatencyModel.load(name, folder) for name in sources]
    readings, _, _ = current(folder / device, "networks")
    drift = usual_drift(readings)
    unseen = read_readings(folder / f"{device}-unseen", "networks")
    seen = networks_of(readings, drift, models)
    asked = networks_of(unseen[unseen["median_ms"].notna()], drift, models)
    rows = []
    for samples in SAMPLES:
        found: dict[str, list[dict[str, float]]] = {}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            number = len(seen.median_ms)
            pool = np.sort(rng.permutation(number)[: min(POOL_SIZE, number)])
            table = seen.table.rows(pool)
            profiles = learn_profiles(table.sources_ms, (table.features,))
            chosen = pool[choose_samples(profiles, samples, rng)]
            for model, result in (
                ("transferred", transferred(seen, chosen, pool, asked)),
                ("best source, scaled", best_source(seen, chosen, asked)),
                ("MACs line", macs_line(seen, chosen, asked)),
            ):
                found.setdefault(model, []).append(result)
        for model, results in found.items():
            row: dict[str, Any] = {"device": device, "sources": ", ".join(sources)}
            row |= {"samples": samples, "model": model}
            for key in SHOWN:
                row[key] = float(np.mean([result.get(key, np.nan) for result in results]))
            row["mape_worst_seed"] = float(np.max([result["mape"] for result in results]))
            rows.append(row)
    return rows


def main() -> None:
    parser = ArgumentParser(description="A new device from a few measured networks.")
    parser.add_argument("--folder", type=Path, default=Path("runs/latency_prediction"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    devices = devices_with(FILE, arguments.folder)
    targets = [name for name in devices if (arguments.folder / f"{name}-unseen").is_dir()]
    rows = []
    for device in targets:
        sources = [name for name in devices if name != device]
        rows += benchmark_device(device, sources, arguments.folder, arguments.seeds)
    print_table("a device from a few measured networks and other devices", rows)
    about = {name: dict(LatencyModel.load(name, arguments.folder).about) for name in devices}
    write_json(arguments.json, rows, {"seeds": arguments.seeds, "profiles": about})


if __name__ == "__main__":
    main()
