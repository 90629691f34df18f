"""Predicted: latency models fitted to a profile of a device that is not there."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from benchmarks.numbers.figures import Figure, arrays_digest, digest, steady
from benchmarks.numbers.subjects import drawn
from latency_models.devices.cpu import AVX2
from latency_models.devices.latency import Latency, to_json
from latency_models.measurement.readings import read_readings
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import ModelName, read_model
from latency_models.prediction.predictor import Explanation
from latency_models.transfer.predictions import prediction_json
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from tests.latency_models.parts.profiles import graphs, measured, network_ms, write_profile

ASKED, FAR = 20, 4
MODELS: Sequence[ModelName] = get_args(ModelName)


def model_figures(folder: Path) -> dict[str, Figure]:
    place = write_profile(folder, networks=24)
    found: dict[str, Figure] = {"readings": about_readings(place)}
    for name in MODELS:
        model = fit_latency_model(place, AVX2, name)
        path = model.save(folder)
        header, arrays = read_model(path)
        found[name] = {
            "header": digest(steady(header)),
            "arrays": arrays_digest(arrays),
            "about": steady(dict(model.about)),
            **answers(model),
            "read back": answers(LatencyModel.load("formula", folder))["latencies"],
            "refitted": answers(refitted(model))["latencies"],
        }
    return found


def about_readings(place: Path) -> Figure:
    return {
        what: digest(read_readings(place, what).to_json(orient="records"))
        for what in ("kernels", "networks")
    }


def refitted(model: LatencyModel) -> LatencyModel:
    known = graphs(6, seed=77)
    return model.refitted([(graph, measured(1.3 * network_ms(graph))) for graph in known])


def answers(model: LatencyModel) -> dict[str, Figure]:
    asked = graphs(ASKED, seed=99)
    return {
        "latencies": [answer(model, graph) for graph in asked],
        "far": [answer(model, each.graph) for each in drawn()[:FAR]],
        "extrapolated": [
            in_short(model.latency(each.graph, extrapolate=True)) for each in drawn()[:FAR]
        ],
        "explained": [about(model.explain(graph)) for graph in asked[:3]],
    }


def answer(model: LatencyModel, graph: Graph) -> Figure:
    try:
        return in_short(model.latency(graph))
    except UserError as error:
        return str(error)


def in_short(latency: Latency) -> Figure:
    within = latency.interval
    assert within is not None
    bounds = [within.low_ms, within.high_ms, within.probability]
    return [
        latency.median_ms,
        latency.spread_ms,
        *bounds,
        latency.predicted_by,
        digest(to_json(latency)),
    ]


def about(explanation: Explanation) -> Figure:
    return {
        "kernels": digest([asdict(kernel) for kernel in explanation.kernels]),
        "named": [f"{kernel.node}: {kernel.kernel}" for kernel in explanation.kernels],
        "beyond": explanation.overhead_ms,
        "as JSON": digest(prediction_json("formula", explanation)),
    }
