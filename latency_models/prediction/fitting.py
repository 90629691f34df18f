"""Fitting: a device's latency model from its profile."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_models.compiler.kernel_text import from_text, key_of
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.latency import Conditions, Latency
from latency_models.measurement.readings import What, latest, read_readings
from latency_models.prediction.baselines import fit_lookup, fit_roofline_model
from latency_models.prediction.kernel_rows import KernelRows, rows_of
from latency_models.prediction.learned import fit_learned
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import (
    DeviceFit,
    KernelModel,
    ModelName,
    no_networks,
)
from latency_models.prediction.onnx_features import describe
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.schema import parse_json
from search_spaces.space.architecture import read_graph

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Doubts = Callable[[KernelRows], Floats]  # the error in log latency that is expected
SAME = ("device", "cpu", "runtime", "runtime_version", "target", "tuned", "threads", "cache")
LEAST_KERNELS = 40
QUICK_FOLDS = 2
LEAST_DRIFTS = 30  # networks from which it is told how much drifts count
LEAST_CHANGE = 0.01  # of drifts, in logarithms


def fit_latency_model(
    folder: Path, unit: VectorUnit, model: ModelName = "learned", *, seed: int = 0
) -> LatencyModel:
    """Returns the model of a device's profile, of the readings under its latest conditions.

    Args:
        folder: The device's profile.
        unit: What code on the device is cut to.

    Raises:
        UserError: If there are too few readings.
    """
    table, conditions, aside = current(folder)
    if len(table) < LEAST_KERNELS:
        raise UserError(
            f"{folder} has {len(table)} readings of kernels, a model needs {LEAST_KERNELS}; "
            "profile for longer"
        )
    networks, _ = under(read_readings(folder, "networks"), conditions)
    drift = usual_drift(networks if len(networks) else table)
    kernels = latest(at_drift(table, drift))
    described = [describe(from_text(text), unit) for text in kernels["text"]]
    rows, median_ms = rows_of(described), kernels["median_ms"].to_numpy(np.float64)
    families = tuple(sorted(set(map(str, rows.families))))
    spreads = (kernels["spread_ms"] / kernels["median_ms"]).to_numpy(np.float64)
    keys = [key_of(text) for text in kernels["text"]]
    about = about_readings(
        table,
        conditions | {"threads": int(conditions["threads"])},
        model=model,
        vector_unit=asdict(unit),
        kernels=len(kernels),
        set_aside=aside,
        drift=drift,
        sensitivity=1.0,
    )
    fitted = DeviceFit(
        about,
        fit_kernels(model, rows, median_ms, seed),
        dict(zip(keys, zip(median_ms.tolist(), spreads.tolist(), strict=True), strict=True)),
        families,
        no_networks(families),
    )
    return fit_networks(LatencyModel(fitted), networks, drift)


def about_readings(
    readings: "pd.DataFrame", conditions: Mapping[str, Any], **about: object
) -> dict[str, Any]:
    """Returns what a model says of itself, JSON-ready: its readings, and what else is given."""
    return {
        **{name: plain(value) for name, value in conditions.items()},
        **about,
        "first": str(readings["date"].min()),
        "last": str(readings["date"].max()),
        "sessions": int(readings["session"].nunique()),
        "hwnas_version": version("hwnas"),
    }


def fit_networks(model: LatencyModel, networks: "pd.DataFrame", drift: float) -> LatencyModel:
    """Returns the model composed as these readings of networks say."""
    every = {text: network_of(text) for text in networks["text"]}
    graphs = {text: graph for text, graph in every.items() if model.covers(graph)}
    networks = networks[networks["text"].isin(graphs.keys())]
    grouped = model.grouped(list(graphs.values()))

    def composed(sensitivity: float) -> LatencyModel:
        # A network counts once, however often it was timed.
        timed = latest(at_drift(networks, drift, sensitivity))
        rows = zip(*(timed[n] for n in ("text", "median_ms", "spread_ms")), strict=True)
        return grouped.saying(sensitivity=sensitivity).refitted(
            [(graphs[text], Latency(ms, spread, "measured")) for text, ms, spread in rows]
        )

    raw = composed(0.0)
    drifts = networks.groupby("text", sort=False)["drift"].median().to_numpy(np.float64)
    return composed(find_sensitivity(raw.held_out_errors, drifts))


def network_of(text: str) -> Graph:
    """Returns the network that a reading is of.

    Raises:
        UserError: If it is none.
    """
    try:
        return read_graph(parse_json(text))
    except ValueError as error:
        raise UserError(
            f"the profile has a network that cannot be read ({error}); remove the profile and "
            "profile the device with this version"
        ) from None


def find_sensitivity(errors: Floats, drifts: Floats) -> float:
    """Returns the power of the reference kernel's drift that networks are slowed down by.

    Args:
        errors: Predicted over measured less 1, of networks that were held out, as they were read.
        drifts: Beside each.
    """
    if len(errors) < LEAST_DRIFTS:
        return 1.0
    logs = np.log(drifts)
    if float(logs.std()) < LEAST_CHANGE:
        return 1.0
    slope = float(np.polyfit(logs, -np.log1p(errors), 1)[0])
    return min(max(slope, 0.0), 1.0)


def fit_doubts(folder: Path, unit: VectorUnit) -> Doubts | None:
    """Returns how unsure a quickly fitted model is of kernels; None where too few were timed."""
    table, _, _ = current(folder)
    if len(table) < LEAST_KERNELS:
        return None
    kernels = latest(at_drift(table, usual_drift(table)))
    rows = rows_of([describe(from_text(text), unit) for text in kernels["text"]])
    model = fit_learned(rows, kernels["median_ms"].to_numpy(np.float64), num_folds=QUICK_FOLDS)
    return lambda asked: model.predict(asked)[1]


def usual_drift(table: "pd.DataFrame") -> float:
    """Returns how many times its best the reference kernel usually took beside readings."""
    return float(table["drift"].median())


def at_drift(table: "pd.DataFrame", drift: float, sensitivity: float = 1.0) -> "pd.DataFrame":
    """Returns readings as they would have been at one drift.

    A machine whose other cores are busy slows down the reference kernel and what is timed, though
    not always alike: the logarithms are proportional, for networks of our own AVX512 kernels with
    0.97, for ONNX Runtime's with 0.7 (read at drifts of 1.02 to 1.22).
    """
    factor = (drift / table["drift"]) ** sensitivity
    return table.assign(
        median_ms=table["median_ms"] * factor, spread_ms=table["spread_ms"] * factor
    )


def current(folder: Path, what: What = "kernels") -> "tuple[pd.DataFrame, dict[str, Any], int]":
    """Returns the readings under the latest conditions, these, and how many others there are."""
    table = read_readings(folder, what)
    if not table["median_ms"].notna().any():
        return table.iloc[:0], {}, 0
    conditions = {name: table[name].dropna().iloc[-1] for name in SAME}
    table, aside = under(table, conditions)
    return table, conditions, aside


def known_under(table: "pd.DataFrame", conditions: Conditions) -> dict[str, float]:
    """Returns what needs no timing under ``conditions``: milliseconds by text, NaN of failures.

    A failure has no conditions of its own; it counts as its session's other readings do.
    """
    good, _ = under(table, {name: getattr(conditions, name) for name in SAME})
    failed = table[table["median_ms"].isna() & table["session"].isin(good["session"])]
    return {
        str(text): float(ms)
        for rows in (failed, good)
        for text, ms in zip(rows["text"], rows["median_ms"], strict=True)
    }


def fit_kernels(model: ModelName, rows: KernelRows, median_ms: Floats, seed: int) -> KernelModel:
    match model:
        case "learned":
            return fit_learned(rows, median_ms, seed)
        case "lookup":
            return fit_lookup(rows, median_ms)
    return fit_roofline_model(rows, median_ms)


def under(table: "pd.DataFrame", conditions: Mapping[str, Any]) -> "tuple[pd.DataFrame, int]":
    """Returns the readings under these conditions, and how many others there are."""
    table = table[table["median_ms"].notna()]
    same = np.ones(len(table), np.bool_)
    for name, value in conditions.items():
        if name in table:
            same &= (table[name] == value).to_numpy(np.bool_)
    return table[same], int((~same).sum())


def plain(value: Any) -> Any:  # noqa: ANN401
    """A number or text as JSON knows it."""
    return value.item() if isinstance(value, np.generic) else value
