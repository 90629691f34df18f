"""Latency of unseen networks, predicted from kernels, against whole networks measured.

For each device: a profile of the space is made (or one that is there is taken), then networks
that are in no profile are drawn, predicted and measured. Beside the learned model stand a lookup
table, a roofline, and a line through the multiply-accumulates of the profile's networks.

Measurements are compared at the drift of the reference kernel that is usual in the profile;
``as_read`` compares them as they were read.

    python -m benchmarks.latency_prediction --device host --device host-avx2 --budget 8m

Everything timed is kept in ``--folder``; running it again goes on.
"""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.report import print_table, write_json
from latency_models.devices.device import get_device
from latency_models.devices.latency import (
    DeviceBusyError,
    Latency,
    MeasurementError,
    probability_within,
)
from latency_models.measurement.readings import Reading, append_readings, read_readings
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from latency_models.profiling.profile import fit_again, profile_device
from latency_models.profiling.profiler import ProfileProgress, measurer_of
from nas.evaluation.drawing import drawing, read_space
from nas.problem.formatting import seconds_of
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash, read_graph, to_json
from search_spaces.space.space import Architecture

Floats = NDArray[np.float64]
MODELS = ("learned", "lookup", "roofline")
BUDGETS = (0.25, 0.5, 0.75)  # quantiles of the measured latencies that budgets are set at
CONFIDENCE = 0.9
SEED_OF_UNSEEN = 1_000_003


def unseen_networks(
    folder: Path, device: str, draw: Callable[[Random], Graph], count: int
) -> tuple[list[Graph], Floats, Floats]:
    """Draws and measures networks that are in no profile; those measured before are taken.

    Returns the graphs, the milliseconds read, and the drift of the reference kernel beside them.
    """
    place = folder / f"{device}-unseen"
    table = read_readings(place, "networks")
    known: dict[str, tuple[float, float]] = {}
    if "drift" in table:
        pairs = zip(table["median_ms"], table["drift"], strict=True)
        known = dict(zip(table["text"], pairs, strict=True))
    profiled = read_readings(folder / device, "networks")["text"]
    taken = {graph_hash(read_graph(json.loads(text))) for text in profiled}
    rng = Random(SEED_OF_UNSEEN)
    graphs: list[Graph] = []
    times: list[tuple[float, float]] = []
    number = len(list(place.glob("*.parquet")))
    with measurer_of(get_device(device)) as measurer:
        while len(graphs) < count:
            graph = draw(rng)
            key = graph_hash(graph)
            if key in taken:
                continue
            taken.add(key)
            text = json.dumps(to_json(Architecture("", (), graph))["graph"])
            if text not in known:
                latency, failure = measured(measurer.latency, graph)
                reading = Reading(text, "", latency, failure, "unseen")
                append_readings(place, "networks", number, [reading])
                number += 1
                known[text] = np.nan, np.nan
                if latency is not None and latency.conditions is not None:
                    known[text] = latency.median_ms, latency.conditions.drift
            if np.isfinite(known[text][0]):
                graphs.append(graph)
                times.append(known[text])
            if len(graphs) % 20 == 0:
                print(f"{device}: {len(graphs)} of {count} unseen networks", flush=True)
    return graphs, *np.array(times).T


def measured(measure: Callable[[Graph], Latency], graph: Graph) -> tuple[Latency | None, str]:
    for _ in range(5):
        try:
            return measure(graph), ""
        except DeviceBusyError as error:
            print(f"waiting: {error}", flush=True)
        except MeasurementError as error:
            return None, str(error)
    return None, "busy"


def scores(predicted: Floats, measured_ms: Floats) -> dict[str, float]:
    errors = predicted / measured_ms - 1
    return {
        "mape": float(np.mean(np.abs(errors))),
        "within_10": float(np.mean(np.abs(errors) <= 0.1)),
        "within_5": float(np.mean(np.abs(errors) <= 0.05)),
        "spearman": float(spearmanr(predicted, measured_ms)[0]),
        "bias": float(np.median(errors)),
    }


def interval_scores(latencies: Sequence[Latency], measured_ms: Floats) -> dict[str, float]:
    """Coverage and half-width of intervals, and how often accepted networks break budgets."""
    inside, widths = [], []
    for latency, ms in zip(latencies, measured_ms, strict=True):
        assert latency.interval is not None
        inside.append(latency.interval.low_ms <= ms <= latency.interval.high_ms)
        widths.append(latency.interval.high_ms / latency.median_ms - 1)
    accepted = broken = 0
    for quantile in BUDGETS:
        budget = float(np.quantile(measured_ms, quantile))
        for latency, ms in zip(latencies, measured_ms, strict=True):
            if probability_within(latency, budget) >= CONFIDENCE:
                accepted += 1
                broken += ms > budget
    return {
        "coverage_90": float(np.mean(inside)),
        "half_width": float(np.median(widths)),
        "budget_violations": broken / max(accepted, 1),
        "accepted": float(accepted),
    }


def macs_line(folder: Path, graphs: Sequence[Graph]) -> Floats:
    """Predicts by a line through MACs, fitted to the profile's networks by relative errors."""
    table = read_readings(folder, "networks")
    table = table[table["median_ms"].notna()]
    seen = [network_cost(read_graph(json.loads(text))).macs for text in table["text"]]
    times = table["median_ms"].to_numpy(np.float64)
    columns = np.column_stack([np.ones(len(seen)), np.array(seen, np.float64)])
    line, *_ = np.linalg.lstsq(columns / times[:, None], np.ones(len(times)), rcond=None)
    macs = np.array([network_cost(graph).macs for graph in graphs], np.float64)
    predicted: Floats = np.maximum(line[0] + line[1] * macs, 0.1 * times.min())
    return predicted


def benchmark_device(
    device: str, folder: Path, draw: Callable[[Random], Graph], budget_s: float, count: int
) -> list[dict[str, Any]]:
    """Returns a row for each model."""
    if not (folder / device / "model.npz").exists():
        profile_device(
            get_device(device), draw, budget_s=budget_s, on_progress=teller(device), folder=folder
        )
    base = fit_again(device, folder).model
    unit = base.vector_unit
    graphs, read_ms, drifts = unseen_networks(folder, device, draw, count)
    ratios = float(base.about["drift"]) / drifts
    measured_ms = read_ms * ratios ** float(base.about["sensitivity"])
    rows = []
    for name in MODELS:
        model = fit_latency_model(folder / device, unit, name)  # type: ignore[arg-type]
        latencies = model.latencies(graphs, extrapolate=True)
        refused = count_refused(model, graphs)
        predicted = np.array([latency.median_ms for latency in latencies])
        found = scores(predicted, measured_ms) | interval_scores(latencies, measured_ms)
        as_read = scores(predicted, read_ms)
        raw = {"mape_as_read": as_read["mape"], "within_10_as_read": as_read["within_10"]}
        rows.append({"device": device, "model": name, **found, **raw, "refused": refused})
    line = scores(macs_line(folder / device, graphs), measured_ms)
    known = {"device": device, "model": "MACs line", **line}
    rows.append({key: known.get(key, np.nan) for key in rows[0]})
    return rows


def count_refused(model: LatencyModel, graphs: Sequence[Graph]) -> int:
    """How many networks are not answered without ``extrapolate``."""
    refused = 0
    for graph in graphs:
        try:
            model.latency(graph)
        except ValueError:
            refused += 1
    return refused


def teller(device: str) -> Callable[[ProfileProgress], None]:
    told = [0.0]

    def tell(progress: ProfileProgress) -> None:
        if progress.seconds - told[0] > 30:
            told[0] = progress.seconds
            print(f"{device}: {progress}", flush=True)

    return tell


def main() -> None:
    parser = ArgumentParser(description="Predicted against measured latency of unseen networks.")
    parser.add_argument("--device", action="append", required=True)
    parser.add_argument("--space", type=Path, default=Path("benchmarks/spaces/mixed.yaml"))
    parser.add_argument("--folder", type=Path, default=Path("runs/latency_prediction"))
    parser.add_argument("--budget", type=seconds_of, default=480.0)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    draw = drawing(read_space(arguments.space, None, None))
    run = partial(
        benchmark_device,
        folder=arguments.folder,
        draw=draw,
        budget_s=arguments.budget,
        count=arguments.networks,
    )
    rows = [row for device in arguments.device for row in run(device)]
    print_table("predicted against measured latency of unseen networks", rows)
    about = {d: dict(LatencyModel.load(d, arguments.folder).about) for d in arguments.device}
    write_json(arguments.json, rows, {"networks": arguments.networks, "profiles": about})


if __name__ == "__main__":
    main()
