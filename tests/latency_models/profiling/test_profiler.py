"""Profiler: turns within a budget, failures that cost one kernel, and nothing that is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from latency_models.compiler.kernel_text import to_text
from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.device import RUNTIMES, Runtime
from latency_models.devices.latency import MeasurementError
from latency_models.measurement.readings import read_readings
from latency_models.prediction.fitting import fit_doubts, fit_latency_model
from latency_models.profiling.pool import Doubts
from latency_models.profiling.profiler import PAUSES_S, RETIMED, Draw, ProfileProgress, Profiler
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d
from search_spaces.graphs.precision import get_precision
from tests.latency_models.parts.profiles import draw, graphs
from tests.latency_models.profiling.fakes import FakeTimer

ROOT = Path(__file__).parents[3]


def no_doubts(folder: Path) -> Doubts | None:
    return None


def profile(
    folder: Path,
    timer: FakeTimer | None = None,
    *,
    budget_s: float = 60.0,
    seed: int = 0,
    space: Draw = draw,
    told: Callable[[ProfileProgress], None] = lambda progress: None,
) -> Profiler:
    """A run of the profiler on a fake device; where the run fails, so does this."""
    timer = timer or FakeTimer()
    profiler = Profiler(
        timer,
        folder,
        space,
        budget_s,
        Random(seed),
        no_doubts,
        told,
        timer.clock,
        timer.wait,
        pool_size=30,
    )
    profiler.run()
    return profiler


def texts(folder: Path, what: Literal["kernels", "networks"]) -> list[str]:
    return list(read_readings(folder, what)["text"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_kernels_and_networks_are_timed_in_turns(runtime: Runtime, tmp_path: Path) -> None:
    timer, told = FakeTimer(runtime=runtime), list[ProfileProgress]()

    profiler = profile(tmp_path, timer, told=told.append)

    kernels, networks = texts(tmp_path, "kernels"), texts(tmp_path, "networks")
    assert (len(kernels), len(networks)) == (profiler.kernels, profiler.networks)
    assert len(set(kernels)) == len(kernels) > 40
    assert len(set(networks)) == len(networks) > 10
    half = len(timer.asked) // 2
    assert sum(len(each) > 1 for each in timer.asked[:half]) > 3
    assert sum(len(each) == 1 for each in timer.asked[:half]) > 3
    assert [each.kernels + each.networks for each in told] == sorted(
        {each.kernels + each.networks for each in told}
    )
    assert told[-1].left < told[0].left


@pytest.mark.parametrize("budget_s", [0.0, 5.0, 30.0])
def test_the_budget_is_kept(budget_s: float, tmp_path: Path) -> None:
    timer = FakeTimer()
    profile(tmp_path, timer, budget_s=budget_s)
    spent = timer.now - 100.0
    assert budget_s <= spent <= budget_s + 10 * timer.kernel_s + 1e-9


def test_half_of_the_time_is_for_networks(tmp_path: Path) -> None:
    profiler = profile(tmp_path, budget_s=40.0)
    whole = profiler.kernel_s + profiler.network_s
    assert 0.4 < profiler.network_s / whole < 0.6


def two(rng: Random) -> Graph:
    """A space of two networks."""
    net = GraphBuilder((3, 8, 8))
    net.add("conv", Conv2d(rng.choice((4, 8)), (3, 3)), net.input)
    return net.graph()


def test_it_ends_when_nothing_is_left_to_time(tmp_path: Path) -> None:
    timer = FakeTimer()
    profile(tmp_path, timer, budget_s=1e6, space=two)

    assert timer.now < 1000
    assert len(texts(tmp_path, "networks")) == 2
    wanted = {
        to_text(use.kernel) for seed in range(9)
        for use in network_kernels(two(Random(seed)), "tvm", AVX2)
    }  # fmt: skip
    assert set(texts(tmp_path, "kernels")) == wanted
    again = profile(tmp_path, FakeTimer(now=900.0), budget_s=1e6, space=two)
    assert again.networks == 0


# Failures


def crash_on(bad: set[str]) -> Callable[[str], None]:
    def before(text: str) -> None:
        if text in bad:
            raise MeasurementError("crashed", "the worker ended by signal SIGSEGV")

    return before


def test_a_bad_kernel_costs_only_itself(tmp_path: Path) -> None:
    quiet = FakeTimer()
    profile(tmp_path / "quiet", quiet, budget_s=1.0)
    batch = quiet.asked[0]
    assert len(batch) == 8

    timer = FakeTimer(crash_on({batch[3]}))
    profiler = profile(tmp_path / "odd", timer, budget_s=1.0)

    assert timer.asked[0] == batch
    assert timer.asked[1:9] == [(text,) for text in batch]
    table = read_readings(tmp_path / "odd", "kernels").set_index("text")
    assert set(table.index) == set(batch)
    assert table["median_ms"].isna().sum() == profiler.failures == 1
    assert "SIGSEGV" in str(table.loc[batch[3], "failure"])


def test_a_bad_kernel_is_not_tried_again(tmp_path: Path) -> None:
    bad = {to_text(use.kernel) for use in network_kernels(graphs(1, seed=0)[0], "tvm", AVX2)}
    first = FakeTimer(crash_on(bad))
    profile(tmp_path, first, budget_s=200.0)
    alone = [each[0] for each in first.asked if len(each) == 1 and each[0] in bad]
    assert len(alone) == len(set(alone)) > 0

    second = FakeTimer(crash_on(bad), now=1000.0)
    profile(tmp_path, second, budget_s=60.0, seed=1)
    assert not set(alone) & {text for each in second.asked for text in each}


@pytest.mark.parametrize(
    "error",
    [
        MeasurementError("timed out", "took more than 120 s"),
        MeasurementError("out of memory", "does not fit"),
        UnsupportedOperatorError("the runtime has no kernel"),
    ],
)
def test_networks_that_fail_are_noted_and_passed_over(error: Exception, tmp_path: Path) -> None:
    def before(text: str) -> None:
        if text.startswith('{"input_shape": [3, 32'):
            raise error

    profiler = profile(tmp_path, FakeTimer(before), budget_s=60.0)

    table = read_readings(tmp_path, "networks")
    missing = table["median_ms"].isna()
    assert missing.sum() == profiler.failures > 0
    assert (~missing).sum() == profiler.networks > 0
    assert set(table.loc[missing, "failure"]) == {str(error)}


def half_wide(rng: Random) -> Graph:
    """A space of which every other network has sums that could leave 32 bits."""
    if rng.random() < 0.5:
        return draw(rng)
    net = GraphBuilder((70000, 1, 1))
    net.add("wide", Conv2d(4, precision=get_precision("w8a8")), net.input)
    return net.graph()


def test_networks_that_cannot_run_are_not_tried(tmp_path: Path) -> None:
    profiler = profile(tmp_path, space=half_wide)
    assert profiler.failures == 0
    assert profiler.networks > 10


@pytest.mark.parametrize("kind", ["busy", "unreachable"])
def test_a_device_that_comes_back_is_waited_for(
    kind: Literal["busy", "unreachable"], tmp_path: Path
) -> None:
    left = [len(PAUSES_S[kind])]

    def before(text: str) -> None:
        if left[0]:
            left[0] -= 1
            raise MeasurementError(kind, "come back later")

    timer = FakeTimer(before)
    profiler = profile(tmp_path, timer)

    assert timer.waited == list(PAUSES_S[kind])
    assert profiler.failures == 0
    assert profiler.kernels > 0


@pytest.mark.parametrize("kind", ["busy", "unreachable"])
@pytest.mark.parametrize("after", [0, 1, 17, 60])
def test_a_device_that_stays_away_ends_the_run_and_nothing_is_lost(
    kind: Literal["busy", "unreachable"], after: int, tmp_path: Path
) -> None:
    seen: list[str] = []

    def before(text: str) -> None:
        if len(seen) >= after:
            raise MeasurementError(kind, "gone for good")
        seen.append(text)

    timer = FakeTimer(before)
    tries = len(PAUSES_S[kind]) + 1
    with pytest.raises(MeasurementError, match=rf"gone for good \(tried {tries} times in \d+ s"):
        profile(tmp_path, timer)

    assert timer.waited == list(PAUSES_S[kind])
    kept = {*texts(tmp_path, "kernels"), *texts(tmp_path, "networks")}
    asked = [text for each in timer.asked[: -len(PAUSES_S[kind]) - 1] for text in each]
    assert kept == set(asked)


def test_a_device_that_goes_away_while_old_kernels_are_timed_loses_nothing(
    tmp_path: Path,
) -> None:
    profile(tmp_path)
    before_it = len(texts(tmp_path, "kernels"))
    seen: list[str] = []

    def before(text: str) -> None:
        if len(seen) >= 10:
            raise MeasurementError("unreachable", "gone")
        seen.append(text)

    timer = FakeTimer(before, now=1000.0)
    with pytest.raises(MeasurementError):
        profile(tmp_path, timer, seed=1)
    asked = [text for each in timer.asked[: -len(PAUSES_S["unreachable"]) - 1] for text in each]
    assert len(texts(tmp_path, "kernels")) == before_it + len(asked)


def test_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    seen: list[str] = []

    def before(text: str) -> None:
        seen.append(text)
        if len(seen) == 60:
            raise KeyboardInterrupt

    timer = FakeTimer(before)
    with pytest.raises(KeyboardInterrupt):
        profile(tmp_path, timer)
    kept = {*texts(tmp_path, "kernels"), *texts(tmp_path, "networks")}
    assert kept == {text for each in timer.asked[:-1] for text in each}


def test_a_mistake_of_the_user_ends_the_run(tmp_path: Path) -> None:
    def before(text: str) -> None:
        raise UserError("the board cannot run such code")

    with pytest.raises(UserError, match="cannot run such code"):
        profile(tmp_path, FakeTimer(before))


# Runs one after another


def test_another_run_adds_and_does_not_repeat(tmp_path: Path) -> None:
    first = profile(tmp_path, budget_s=20.0)
    known = set(texts(tmp_path, "kernels"))
    files = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}

    timer = FakeTimer(now=1000.0)
    second = profile(tmp_path, timer, budget_s=20.0, seed=1)

    assert all(path.read_bytes() == data for path, data in files.items())
    assert len(texts(tmp_path, "kernels")) == first.kernels + second.kernels
    again = [text for each in timer.asked for text in each if text in known]
    assert len(again) == len(set(again)) <= RETIMED  # to see whether the device changed
    networks = texts(tmp_path, "networks")
    assert len(networks) == len(set(networks)) == first.networks + second.networks


def test_runs_of_the_same_second_are_all_kept(tmp_path: Path) -> None:
    runs = [profile(tmp_path, FakeTimer(now=100.0 + i), budget_s=1.0, seed=i) for i in range(3)]
    assert len({run.session for run in runs}) == 3
    assert len(texts(tmp_path, "kernels")) == sum(run.kernels for run in runs)


def test_under_other_conditions_all_is_timed_anew(tmp_path: Path) -> None:
    old = profile(tmp_path, FakeTimer(), budget_s=60.0)
    assert old.kernels > 40

    upgraded = FakeTimer(version="2", now=1000.0)
    new = profile(tmp_path, upgraded, budget_s=60.0)

    assert new.kernels > 0.9 * old.kernels
    model = fit_latency_model(tmp_path, AVX2)
    assert model.about["runtime_version"] == "2"
    assert model.about["set_aside"] == old.kernels
    assert model.about["kernels"] == new.kernels


def test_doubts_are_asked_for_and_used(tmp_path: Path) -> None:
    asked: list[Path] = []

    def fit(folder: Path) -> Doubts | None:
        asked.append(folder)
        return fit_doubts(folder, AVX2)

    timer = FakeTimer()
    Profiler(
        timer, tmp_path, draw, 150.0, Random(0), fit, clock=timer.clock, wait=timer.wait
    ).run()

    assert len(asked) >= 2
    assert set(asked) == {tmp_path}
    assert partial(fit_doubts, unit=AVX2)(tmp_path) is not None


def test_a_run_that_is_killed_loses_only_what_was_not_yet_written(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from tests.latency_models.profiling.fakes import FakeTimer
from tests.latency_models.profiling.test_profiler import profile
def told(progress):
    print(progress.kernels, progress.networks, flush=True)
profile(Path({str(tmp_path)!r}), FakeTimer(kernel_s=0.5), budget_s=1e6, told=told)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(12):
            counts = [int(part) for part in process.stdout.readline().split()]
        os.kill(process.pid, signal.SIGKILL)

    kept = len(texts(tmp_path, "kernels")), len(texts(tmp_path, "networks"))
    # Readings take 4 to 5 s by its clock, so at most some four turns were not written.
    assert kept[0] >= counts[0] - 4 * 8
    assert kept[1] >= counts[1] - 4
    assert sum(kept) > 0
    again = profile(tmp_path, FakeTimer(now=5000.0), budget_s=20.0)
    assert again.kernels > 0
