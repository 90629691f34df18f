"""A search by the surrogate that is killed and resumed proposes what an uninterrupted one does."""

import shutil
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import pytest

from nas.problem.run_file import RunFile
from nas.search.run import run_search
from nas.study.results import RunResults
from tests.nas.parts.tiny import tiny
from tests.nas.search.test_faults import searching, wait_for

KILLS = (4, 9, 17)  # after so many trials: a random one, the first learned ones, later ones


def told(results: RunResults) -> list[object]:
    return [(trial.genes, trial.evaluation.values) for trial in results.trials]


def killed_again_and_again(folder: Path, file: RunFile, seed: int) -> None:
    """Kills a search in the middle of trials, and starts it again each time."""
    rng = Random(seed)
    for count in KILLS:
        with searching(folder, file) as process:
            wait_for(process, str(count))
            sleep(rng.uniform(0.0, 0.1))
            assert process.poll() is None
            process.kill()  # SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("learns", [False, True], ids=["by itself", "from an earlier run"])
def test_a_search_that_is_killed_thrice_finds_what_an_uninterrupted_one_finds(
    tmp_path: Path, digits_file: dict[str, Any], learns: bool
) -> None:
    search: dict[str, Any] = {"sampler": "surrogate", "initial": 6, "trials": 26}
    if learns:
        search["learn_from"] = [str(tmp_path / "before")]
        run_search(tiny(name="before", data=digits_file, search={"trials": 16}), tmp_path)
    file = tiny(data=digits_file, baselines=["lenet_300_100"], search=search)
    whole = run_search(file, tmp_path / "whole")

    if learns:  # what it learns from is gone before it learns
        with searching(tmp_path / "parts", file) as process:
            wait_for(process, "start")
            process.kill()
        shutil.rmtree(tmp_path / "before")
    killed_again_and_again(tmp_path / "parts", file, seed=learns)
    results = run_search(file, tmp_path / "parts", resume=True)

    assert len(results.searched) == 26
    assert told(results) == told(whole)
    assert results.num_duplicates == 0
