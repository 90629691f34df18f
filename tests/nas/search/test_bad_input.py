"""Searches that have next to nothing to search end in one line, whatever their sampler."""

from pathlib import Path
from typing import Any

import pytest

from nas.problem.records import SAMPLERS
from nas.search.run import run_search
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny

ONE: dict[str, Any] = {
    "resolution": 8,
    "stem": {"width": 4, "stride": 2},
    "stages": [{"depth": 1, "width": 8, "blocks": [{"plain": {"kernel_size": 3}}]}],
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_space_of_one_architecture_ends_with_one_trial_and_says_so(
    tmp_path: Path, sampler: str, workers: int
) -> None:
    search = {"sampler": sampler, "workers": workers}

    results = run_search(tiny(space=ONE, search=search), tmp_path)

    assert len(results.searched) == 1
    assert results.used_up
    assert results.ending == "space 'tiny' has one architecture, which is tried; enlarge the space"
    assert results.num_duplicates == 0
    again = run_search(tiny(space=ONE, search=search), tmp_path, resume=True)
    assert len(again.trials) == 1
    assert again.used_up


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_bound_that_nothing_free_keeps_ends_the_search_before_a_trial(
    tmp_path: Path, sampler: str
) -> None:
    file = tiny(constraints=["macs <= 10"], search={"sampler": sampler})

    with pytest.raises(
        UserError, match=r"keep the constraints .*the closest: macs <= 10"
    ) as found:
        run_search(file, tmp_path)

    assert "\n" not in str(found.value)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_bounds_that_no_training_keeps_end_with_all_trials_and_an_empty_front(
    tmp_path: Path, sampler: str
) -> None:
    rules = ["accuracy >= 0.999", "macro_f1 >= 0.999"]
    file = tiny(constraints=rules, search={"sampler": sampler, "trials": 12})

    results = run_search(file, tmp_path)

    assert len(results.infeasible) == len(results.searched) == 12
    assert results.front == ()
    assert "accuracy >= 0.999 is violated" in results.why_nothing


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_random_trials_than_the_space_has_end_when_it_is_used_up(
    tmp_path: Path, sampler: str
) -> None:
    stage = ONE["stages"][0] | {"width": [8, 16, 24]}
    file = tiny(
        space=ONE | {"stages": [stage]},
        search={"sampler": sampler, "trials": 50, "initial": 20},
    )

    results = run_search(file, tmp_path)

    assert len(results.searched) == 3
    assert results.used_up
