"""Workers that are simulated begin when they are free and asked for, and their time is counted."""

import numpy as np
import pytest

from benchmarks.search_efficiency.asking import METRIC, Branches, asked, busy
from nas.search.proposals.gate import Gate
from nas.search.proposals.samplers import make_sampler


def test_a_worker_gets_its_next_trial_when_one_has_ended() -> None:
    space = Branches(6)
    sampler = make_sampler("surrogate", space, METRIC, seed=0, initial=8, gate=Gate())

    took, begun = np.array(list(asked(space, sampler, 20, 4, 100.0))).T

    assert (took > 0).all()
    assert begun[:4].max() < 100
    assert (begun[4:] >= begun[:-4] + 100).all()
    assert begun[-1] == pytest.approx(400, abs=took.sum())


def test_workers_that_wait_for_their_turn_are_not_busy() -> None:
    at_once = np.repeat([0.0, 10.0, 20.0], 4)
    late = np.repeat([0.0, 20.0, 40.0], 4)

    assert busy(at_once, 4, 10.0) == pytest.approx(1)
    assert busy(late, 4, 10.0) == pytest.approx(0.5)
