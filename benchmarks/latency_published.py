"""Published networks at 224 x 224, predicted from kernels of their relatives, against measured.

The profile holds kernels of the same families of networks at other widths and resolutions, in
float32 and 8 bits, and never one of the networks that are predicted.

    python -m benchmarks.latency_published --device host --budget 5m
"""

from argparse import ArgumentParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.latency_prediction import scores, teller
from benchmarks.report import print_table, write_json
from latency_models.devices.device import get_device
from latency_models.prediction.model import LatencyModel
from latency_models.profiling.profile import fit_again, profile_device
from latency_models.profiling.profiler import measurer_of
from nas.problem.formatting import seconds_of
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.precision import get_precision
from search_spaces.networks import NETWORKS
from search_spaces.quantization.reprecision import uniform

RESOLUTION = 224
PRECISIONS = ("fp32", "w8a8")
# Left out: LeNets (28 x 28), and networks whose first linear layer alone has 100 MB of weights.
FAMILIES = tuple(n for n in NETWORKS if n not in ("lenet_300_100", "lenet5", "alexnet", "vgg16"))
WIDTHS = (0.5, 0.75, 1.0, 1.25)
RESOLUTIONS = (160, 192, 208, 224, 240, 256)


def network(name: str, width: float, resolution: int, precision: str) -> Graph:
    graph = NETWORKS[name](width=width, resolution=resolution)
    return graph if precision == "fp32" else uniform(graph, get_precision(precision))


def draw_relative(rng: Random) -> Graph:
    """A network of the families that is none of those predicted."""
    while True:
        width, resolution = rng.choice(WIDTHS), rng.choice(RESOLUTIONS)
        if (width, resolution) == (1.0, RESOLUTION):
            continue
        try:
            return network(rng.choice(FAMILIES), width, resolution, rng.choice(PRECISIONS))
        except ValueError:  # this family has no such width
            continue


def compare(model: LatencyModel, name: str) -> list[dict[str, Any]]:
    rows = []
    with measurer_of(get_device(name)) as measurer:
        for family in FAMILIES:
            for precision in PRECISIONS:
                graph = network(family, 1.0, RESOLUTION, precision)
                measured = measurer.latency(graph)
                try:
                    model.latency(graph)
                    note = ""
                except UserError:
                    note = "extrapolated"
                predicted = model.latency(graph, extrapolate=True)
                bounds = predicted.interval
                assert bounds is not None
                measured_ms = model.usual_ms(measured)
                inside = bounds.low_ms <= measured_ms <= bounds.high_ms
                rows.append(
                    {
                        "network": family,
                        "precision": precision,
                        "predicted_ms": predicted.median_ms,
                        "low_ms": bounds.low_ms,
                        "high_ms": bounds.high_ms,
                        "measured_ms": measured_ms,
                        "read_ms": measured.median_ms,
                        "error": predicted.median_ms / measured_ms - 1,
                        "inside": str(inside),
                        "note": note,
                    }
                )
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = ArgumentParser(description="Predicted against measured published networks.")
    parser.add_argument("--device", default="host")
    parser.add_argument("--folder", type=Path, default=Path("runs/latency_published"))
    parser.add_argument("--budget", type=seconds_of, default=300.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, folder = arguments.device, arguments.folder
    if not (folder / device / "model.npz").exists():
        profile_device(
            get_device(device),
            draw_relative,
            budget_s=arguments.budget,
            on_progress=teller(device),
            folder=folder,
        )
    model = fit_again(device, folder).model
    rows = compare(model, device)
    predicted = np.array([row["predicted_ms"] for row in rows])
    measured = np.array([row["measured_ms"] for row in rows])
    print_table(f"published networks on {device}", rows)
    summary = scores(predicted, measured)
    print_table("all", [summary])
    write_json(arguments.json, rows, {**summary, "profile": dict(model.about)})


if __name__ == "__main__":
    main()
