"""Profiling this very machine: what is predicted is about what is measured."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from latency_models.devices.cpu import AVX2
from latency_models.devices.device import RUNTIMES, Device, Runtime
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.readings import read_readings
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import profiled_devices
from latency_models.profiling.profile import ProfileReport, fit_again, profile_device
from latency_models.profiling.profiler import ProfileProgress
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import sample
from tests.latency_models.parts.profiles import SPACE, at, graphs, write_profile

SMALL = replace(SPACE, resolutions=(16,), stages=SPACE.stages[:1])


def draw(rng: Random) -> Graph:
    return sample(SMALL, rng).graph


@pytest.fixture(scope="module", params=RUNTIMES)
def profiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Device, Path, ProfileReport, list[ProfileProgress]]:
    """This machine, profiled for some seconds whatever else it does."""
    folder, told = tmp_path_factory.mktemp("profiles"), list[ProfileProgress]()
    runtime: Runtime = request.param
    device = Device("host", "this machine", runtime=runtime, max_drift=1000)
    for seed, budget_s in enumerate((6.0, 10.0, 90.0)):  # a busy machine may need longer
        with suppress(UserError), pytest.MonkeyPatch.context() as patch:
            patch.setattr("latency_models.prediction.fitting.LEAST_KERNELS", 20)
            report = profile_device(
                device, draw, budget_s=budget_s, on_progress=told.append, folder=folder, seed=seed
            )
            if report.model.about["networks"] > 1:
                return device, folder, report, told
    raise AssertionError("too few kernels and networks were timed in 128 s")


@pytest.mark.slow
def test_unseen_networks_take_about_what_is_predicted(
    profiled: tuple[Device, Path, ProfileReport, list[ProfileProgress]],
) -> None:
    device, folder, report, told = profiled
    assert report.path == folder / "host" / "model.npz"
    assert profiled_devices(folder) == ("host",)
    assert report.model.about["kernels"] > 10
    assert report.failures == 0
    assert (told[-1].kernels, told[-1].networks) == (report.kernels, report.networks)
    kernels = read_readings(folder / "host", "kernels")
    assert len(kernels) >= report.kernels
    assert set(kernels["runtime"]) == {device.runtime}

    model, rng = LatencyModel.load("host", folder), Random(99)
    with Measurer(device) as measurer:
        ratios = []
        for _ in range(5):
            graph = draw(rng)
            wanted = model.usual_ms(measurer.latency(graph))  # however busy the machine was
            ratios.append(model.latency(graph, extrapolate=True).median_ms / wanted)
    # In the right unit and of whole networks: others may take most of this machine meanwhile.
    assert 1 / 3 < float(np.median(ratios)) < 3.0


def test_fitting_again_needs_no_device(tmp_path: Path) -> None:
    own = write_profile(tmp_path)
    fit_latency_model(own, AVX2, "roofline").save(tmp_path)
    write_profile(tmp_path, conditions=at("2026-02-01T00:00:00+00:00"), factor=1.3, session="two")

    report = fit_again("formula", tmp_path)

    assert (report.kernels, report.networks, report.failures) == (0, 0, 0)
    assert report.drift is not None
    assert report.drift.ratio == pytest.approx(1.3)
    assert report.drift.is_notable
    again = LatencyModel.load("formula", tmp_path)
    assert again.name == "learned"
    graph = graphs(1, seed=99)[0]
    assert again.latency(graph) == report.model.latency(graph)


def test_a_device_that_was_never_profiled_cannot_be_fitted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'phone' was never profiled; run nas device profile"):
        fit_again("phone", tmp_path)
