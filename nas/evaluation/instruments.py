"""Instruments: what a run finds out latencies with, on its own device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from latency_models.devices.contention import contention
from latency_models.devices.device import get_device
from latency_models.measurement.measurer import Measurer
from latency_models.prediction.model_file import profiled_devices
from latency_models.prediction.predictor import Predictor
from latency_models.transfer.model import load_latency_model
from nas.evaluation.latency import (
    CandidateLatency,
    Hybrid,
    Measured,
    NetworkTimer,
    Predicted,
)
from nas.problem.records import RunConfig
from nas.runs.folder import RunFolder
from search_spaces.graphs.errors import UserError


def needs_latency(config: RunConfig) -> bool:
    used = {metric.name for metric in config.objectives}
    return "latency_ms" in used | {rule.metric.name for rule in config.constraints}


def open_measurer(config: RunConfig) -> Measurer:
    latency = config.latency
    return Measurer(
        get_device(latency.device, latency.max_drift),
        latency.runtime,
        tuned=latency.tuned,
        time_limit_s=latency.time_limit_s,
    )


def slowed_down(config: RunConfig) -> str:
    """Returns what slows this machine down, in one line, where a run times networks on it."""
    device = get_device(config.latency.device)
    if not needs_latency(config) or device.is_remote or config.latency.source == "predicted":
        return ""
    found = contention(device.threads)
    return f"this machine is slowed down: {found}" if found else ""


def load_model(config: RunConfig) -> Predictor:
    """Returns the latency model of the run's device.

    Raises:
        UserError: If the device has none, or one of networks that are run otherwise.
    """
    latency = config.latency
    name = latency.device
    if name not in profiled_devices():
        raise UserError(
            f"latency.source is {latency.source!r}, but device {name!r} has no latency model; "
            f"make one with 'nas device profile {name} --space RUN.yaml', or set latency.source "
            "to measured"
        )
    model = load_latency_model(name)
    asked = {"runtime": latency.runtime or get_device(name).runtime, "tuned": latency.tuned}
    for key, value in asked.items():
        fitted = model.about.get(key, value)
        if fitted != value:
            raise UserError(
                f"the latency model of {name!r} predicts networks with {key} {in_yaml(fitted)}, "
                f"but the run asks for {in_yaml(value)}; set latency.{key} to {in_yaml(fitted)}, "
                "or latency.source to measured"
            )
    return model


def in_yaml(value: object) -> str:
    return str(value).lower()


@dataclass(frozen=True, slots=True)
class Instruments:
    """How a process comes by its instruments; worker processes are sent this and open their own.

    Attributes:
        measurer: Opens what measures; nothing runs on the device before the first question.
        model: Loads what predicts.
    """

    measurer: Callable[[RunConfig], AbstractContextManager[NetworkTimer]] = open_measurer
    model: Callable[[RunConfig], Predictor] = load_model

    def needed_model(self, config: RunConfig) -> Predictor | None:
        """Returns the model, or None for a run that predicts nothing.

        Raises:
            UserError: If there is none.
        """
        predicts = needs_latency(config) and config.latency.source != "measured"
        return self.model(config) if predicts else None


def make_source(
    config: RunConfig, run: RunFolder, measurer: NetworkTimer, model: Predictor | None
) -> CandidateLatency:
    """Returns where the run's latencies come from; ``model`` is as `Instruments.needed_model`."""
    if model is None:
        return Measured(measurer)
    if config.latency.source == "predicted":
        return Predicted(model)
    return Hybrid(config, run, measurer, model)
