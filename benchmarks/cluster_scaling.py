"""How a search gains from more workers: two for real, up to 512 simulated.

    python -m benchmarks.cluster_scaling --json docs/results/cluster_scaling.json

For real: the same candidates (random sampler, one seed) of examples/digits.yaml, trained on local
clusters of 1 and 2 nodes with a CPU each. Timed from when all workers are ready until the last
training ends.

Simulated (`benchmarks.simulated_cluster`), with times that are recorded here:
- trainings: those of the 1 node above, also 10 and 100 times as long;
- the driver's asking, filing and telling: of the real loop, candidate by candidate
  (`benchmarks.driver_costs`);
- what Tune takes to hand a candidate to a worker: of a search on 2 nodes whose trainings sleep.
  All CPU time of the driver's process there that is not asking, filing and telling counts as the
  driver's, the rest of a worker's wait as a gap.
The simulation is checked against a real cluster of more workers, whose trainings sleep.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.driver_costs import DriverCosts, record_driver_costs
from benchmarks.report import print_table, write_json
from benchmarks.simulated_cluster import (
    Array,
    Times,
    bounds,
    simulate,
    throughput,
    utilisation,
    without_measuring,
)
from benchmarks.stand_in import measuring_nothing
from benchmarks.timed_search import TimedSearch, search_on_cluster
from benchmarks.work_log import gaps_s
from nas.evaluation.ray.monitor import AHEAD

CONFIG = Path("examples/digits.yaml")
WORKERS = (1, 8, 64, 512)
SCALES = (1, 10, 100)
MEASURE_S = (0.0, 1.0)
ROUNDS = 40  # candidates a worker
SPREAD = 0.5  # of trainings that sleep: half as long to half as long again


@dataclass(frozen=True, slots=True)
class Recorded:
    """Seconds of real searches, each array a sample that the simulation draws from.

    Attributes:
        hand_over_s: Of the driver, beyond its other costs; the mean.
    """

    train: Array
    driver: DriverCosts
    hand_over_s: float
    gap: Array


def slots_of(workers: int) -> int:
    """Returns how many candidates a search has under way, as `Room` counts it."""
    return workers + max(1, round(AHEAD * workers))


def drawn(recorded: Recorded, count: int, scale: float, measure_s: float) -> Times:
    """Returns the times of ``count`` candidates; each driver's cost is one candidate's."""
    rng = np.random.default_rng(0)
    which = rng.integers(len(recorded.driver.ask), size=count)
    return Times(
        ask=recorded.driver.ask[which],
        measure=np.full(count, measure_s),
        hand_over=np.full(count, recorded.hand_over_s),
        gap=rng.choice(recorded.gap, count),
        train=rng.choice(recorded.train, count) * scale,
        file=(recorded.driver.evaluate + recorded.driver.tell)[which],
    )


def simulated(times: Times, workers: int, measured: bool) -> dict[str, Any]:
    """Returns what a cluster of ``workers`` does, and what limits it."""
    if not measured:
        times = without_measuring(times)
    outcome = simulate(times, workers, slots_of(workers))
    limits = bounds(times, workers)
    limit = min(limits, key=limits.__getitem__)
    return {
        "workers": workers,
        "mean training, s": float(times.train.mean()),
        "measuring, s": float(times.measure.mean()),
        "utilisation": utilisation(outcome.begin, outcome.end, workers),
        "trials a minute": 60 * throughput(outcome.begin, workers),
        "limited by": limit,
        "which could do": 60 * limits[limit],
    }


def compare(one: TimedSearch, two: TimedSearch) -> list[dict[str, Any]]:
    return [
        {
            "nodes": found.workers,
            "trials": len(found.spells),
            "trials a minute": 60 * len(found.spells) / found.wall_s,
            "times as many": one.wall_s / found.wall_s,
            "mean training, s": found.training_s / len(found.spells),
            "workers busy": found.training_s / (found.workers * found.wall_s),
            "driver's CPU, s a trial": found.driver_cpu_s,
        }
        for found in (one, two)
    ]


def check(recorded: Recorded, folder: Path, workers: int, sleeping_s: float) -> dict[str, Any]:
    """Returns how busy real workers are whose trainings sleep, and how busy simulated ones."""
    trials = 10 * workers
    file = measuring_nothing(CONFIG, trials, 1, "training.epochs=1")
    real = search_on_cluster(file, folder, 2, workers // 2, sleeping_s, SPREAD)
    times = replace(drawn(recorded, trials, 1.0, 0.0), train=real.end - real.begin)
    outcome = simulate(times, workers, slots_of(workers))
    return {
        "workers": workers,
        "mean training, s": float(times.train.mean()),
        "utilisation": utilisation(real.begin, real.end, workers),
        "simulated": utilisation(outcome.begin, outcome.end, workers),
        "trials a minute": 60 * throughput(real.begin, workers),
        "simulated one": 60 * throughput(outcome.begin, workers),
    }


def record(folder: Path, train: Array, trials: int, sleeping_trials: int) -> Recorded:
    """Records what trainings cost beyond themselves."""
    driver = record_driver_costs(measuring_nothing(CONFIG, trials, 1), folder / "driver")
    file = measuring_nothing(CONFIG, sleeping_trials, 1, "training.epochs=1")
    sleeping = search_on_cluster(file, folder / "sleeping", 2, sleeping_s=0.1)
    hand_over_s = max(0.0, sleeping.driver_cpu_s - driver.cpu_s)
    gaps = gaps_s(sleeping.spells)
    return Recorded(train, driver, hand_over_s, np.clip(gaps - hand_over_s, 0.0, None))


def about(recorded: Recorded) -> list[dict[str, Any]]:
    """Returns what was recorded, as rows; the first and last quarter tell what grows."""
    named = {
        "training": recorded.train,
        "asking": recorded.driver.ask,
        "filing": recorded.driver.evaluate,
        "telling": recorded.driver.tell,
        "handing over": np.array([recorded.hand_over_s]),
        "gap": recorded.gap,
    }
    return [
        {
            "seconds of": name,
            "samples": len(sample),
            "mean": float(sample.mean()),
            "median": float(np.median(sample)),
            "95 %": float(np.quantile(sample, 0.95)),
            "first quarter": float(sample[: max(1, len(sample) // 4)].mean()),
            "last quarter": float(sample[-max(1, len(sample) // 4) :].mean()),
        }
        for name, sample in named.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40, help="trained for real, on each cluster")
    parser.add_argument("--free", type=int, default=600, help="to record the driver's costs")
    parser.add_argument("--sleeping", type=int, default=200, help="to record handing over")
    parser.add_argument("--check", type=int, default=8, help="workers to check the simulation on")
    parser.add_argument("--check-work", type=float, default=3.0, help="seconds of their trainings")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="scaling-") as name:
        at = Path(name)
        file = measuring_nothing(CONFIG, options.trials, 1, "search.sampler=random")
        one = search_on_cluster(file, at / "one", 1)
        two = search_on_cluster(file, at / "two", 2)
        if one.found != two.found:
            raise RuntimeError("the two searches tried different candidates")
        real = compare(one, two)
        print_table("the same candidates, trained for real", real)
        recorded = record(at, one.end - one.begin, options.free, options.sleeping)
        print_table("recorded", about(recorded))
        checked = check(recorded, at / "check", options.check, options.check_work)
        print_table("real workers that sleep, and simulated ones", [checked])
    rows = [
        simulated(drawn(recorded, ROUNDS * workers, scale, measure_s), workers, measure_s > 0)
        for measure_s in MEASURE_S
        for scale in SCALES
        for workers in WORKERS
    ]
    print_table(f"simulated, {ROUNDS} candidates a worker", rows)
    targets = "2 nodes at least 1.8 times 1; utilisation at least 0.9 with 64 workers"
    parts = {"real": real, "recorded": about(recorded), "checked": checked, "targets": targets}
    write_json(options.json, rows, parts)


if __name__ == "__main__":
    main()
