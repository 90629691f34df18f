"""What every test of a fault does: a search of its own, its middle, and the count at its end."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.problem.run_file import RunFile
from tests.nas.evaluation.ray.driving import check_whole, doubled, in_training, told
from tests.nas.parts.searches import wait_for
from tests.nas.parts.tiny import tiny
from tests.waiting import wait_until

Record = Callable[[str, object], None]  # pytest's record_property
TRIALS = 6


def some_search(data: dict[str, Any]) -> RunFile:
    """A search whose trainings take a second or two, with measured latencies."""
    return tiny(
        data=data,
        objectives=["accuracy", "latency_ms"],
        training={"epochs": 300},
        search={"trials": TRIALS},
    )


def changed(file: RunFile, **sections: dict[str, Any]) -> RunFile:
    """Returns a run file with other values in some of its sections."""
    parts = {
        name: getattr(file, name).model_copy(update=values) for name, values in sections.items()
    }
    return file.model_copy(update=parts)


def went_well(
    record: Record,
    run: Path,
    before: dict[str, Any],
    outcome: str,
    *,
    trials: int = TRIALS,
    infeasible: int = 0,
) -> None:
    """Checks a run that has come to its end, and records what the fault has cost.

    Args:
        before: What had been told to the study when it happened.
        infeasible: How many candidates are at fault themselves.
    """
    record("lost", len(before.keys() - told(run).keys()))
    record("doubled", doubled(run))
    record("outcome", outcome)
    results = check_whole(run, trials, before)
    assert len(results.infeasible) == infeasible


def in_the_middle(process: "subprocess.Popen[str]", run: Path) -> dict[str, Any]:
    """Waits until something is finished and something has just begun; returns what is told."""
    wait_for(process, "trial", 2)
    earlier = in_training(run)
    wait_until(lambda: bool(in_training(run) - earlier))
    return told(run)
