"""Profile: what ``nas device profile`` does, from the first reading to the fitted model."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Device, get_device
from latency_models.devices.folders import profiles_folder
from latency_models.prediction.fitting import (
    at_drift,
    current,
    fit_doubts,
    fit_latency_model,
    usual_drift,
)
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import FILE, ModelName, read_about, read_model
from latency_models.profiling.drift import Drift, find_drift
from latency_models.profiling.profiler import Draw, OnProgress, Profiler, measurer_of
from search_spaces.graphs.errors import UserError


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What a run of the profiler added, and the model that was fitted to all there is.

    Attributes:
        path: The model's file.
        drift: Against earlier runs; None where there are none.
    """

    model: LatencyModel
    path: Path
    kernels: int
    networks: int
    failures: int
    drift: Drift | None


def profile_device(
    device: Device,
    draw: Draw,
    *,
    budget_s: float,
    on_progress: OnProgress,
    folder: Path | None = None,
    model: ModelName = "learned",
    seed: int | None = None,
) -> ProfileReport:
    """Times kernels and networks of a space on ``device``, and fits and keeps its latency model.

    An interrupt ends the timing, not the fit.

    Args:
        draw: Returns a random network of the space.
        folder: Where profiles are kept; None is this user's folder.
        seed: Of what is drawn; None draws other networks each time.

    Raises:
        UserError: If the device cannot be used, or too little was timed.
        MeasurementError: If it is gone, or too busy; what was timed is kept.
    """
    root = folder or profiles_folder()
    own = root / device.name
    rng = Random(seed)
    with measurer_of(device) as measurer:
        unit = measurer.vector_unit
        doubts = partial(fit_doubts, unit=unit)
        profiler = Profiler(measurer, own, draw, budget_s, rng, doubts, on_progress)
        with suppress(KeyboardInterrupt):  # what was timed is fitted; the next one ends that too
            profiler.run()
    return fit_profile(
        own, unit, root, model, (profiler.kernels, profiler.networks, profiler.failures)
    )


def fit_again(
    device: str, folder: Path | None = None, model: ModelName = "learned"
) -> ProfileReport:
    """Fits and keeps the model of all that was timed on a device.

    The device need not be there, unless it has no model yet that tells what its code is cut to.

    Raises:
        UserError: If it was never profiled, or too little was timed.
    """
    root = folder or profiles_folder()
    path = root / device / FILE
    if not path.parent.is_dir():
        raise UserError(
            f"device {device!r} was never profiled; run nas device profile {device} --space "
            "SPACE.yaml"
        )
    if path.is_file():
        header, _ = read_model(path)
        try:
            about = read_about(header.get("about"), {"vector_unit": VectorUnit})
        except UserError as error:
            raise UserError(f"{path} is damaged ({error}); remove it and fit again") from None
        unit = VectorUnit(**about["vector_unit"])
    else:
        with measurer_of(get_device(device)) as measurer:
            unit = measurer.vector_unit
    return fit_profile(root / device, unit, root, model, (0, 0, 0))


def fit_profile(
    own: Path, unit: VectorUnit, root: Path, model: ModelName, counts: tuple[int, int, int]
) -> ProfileReport:
    """Fits and keeps the model of a device's profile; counts are of the run that ended."""
    fitted = fit_latency_model(own, unit, model)
    now = current(own)[0]
    drift = find_drift(at_drift(now, usual_drift(now)))
    return ProfileReport(fitted, fitted.save(root), *counts, drift)
