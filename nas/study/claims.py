"""Claims: which of the trials under way in a study each driver may evaluate.

A driver that has decided a trial draws a ticket, one higher than all it sees, and writes it to the
trial beside the hash of its architecture: its claim. It waits for those that are drawing, which
takes them an instant, and then the lower ticket goes first: nothing is evaluated twice, and no
more than what was asked for. A trial that is not to be evaluated is given back: it fails, and
counts for nothing. Deciding may take as long as it likes: nobody waits for who has not claimed
yet, as it will see all that have.

Source: the bakery of Lamport, "A New Solution of Dijkstra's Concurrent Programming Problem",
CACM 1974, https://doi.org/10.1145/361082.361093.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from nas.study.names import BASELINE, DRAWING, HASH, TICKET

Verdict = Literal["mine", "under way elsewhere", "more than asked for"]


@dataclass(frozen=True, slots=True)
class Count:
    """What all drivers of a study have done together.

    Attributes:
        told: Hashes of all that is finished.
        done: How many of them were searched: no baselines.
        under_way: Searched architectures that are being evaluated, or decided.
    """

    told: frozenset[str]
    done: int
    under_way: int


def count(trials: Sequence[FrozenTrial], ours: frozenset[int] | set[int] = frozenset()) -> Count:
    """Counts the trials of a study.

    Args:
        ours: Numbers of unfinished trials to leave out.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    told = frozenset(trial.user_attrs[HASH] for trial in complete)
    given = {trial.user_attrs[HASH] for trial in complete if BASELINE in trial.user_attrs}
    running = {
        trial.user_attrs[HASH]
        for trial in trials
        if is_claim(trial) and BASELINE not in trial.user_attrs and trial.number not in ours
    }
    return Count(told, len(told - given), len(running - told))


def is_claim(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and HASH in trial.user_attrs


def verdict(trials: Sequence[FrozenTrial], number: int, wanted: int) -> Verdict:
    """Returns what becomes of a claim among those of others.

    Args:
        number: Of the trial whose claim it is.
        wanted: How many searched architectures are asked for.
    """
    mine = next(trial for trial in trials if trial.number == number)
    key = mine.user_attrs[HASH]
    before = [trial for trial in trials if is_claim(trial) and turn(trial) < turn(mine)]
    if any(trial.user_attrs[HASH] == key for trial in before):
        return "under way elsewhere"
    if BASELINE in mine.user_attrs:
        return "mine"
    finished = count([trial for trial in trials if trial.state == TrialState.COMPLETE])
    if key in finished.told:
        return "mine"  # and known: it is told at once
    first = {trial.user_attrs[HASH] for trial in before if BASELINE not in trial.user_attrs}
    return "mine" if finished.done + len(first - finished.told) < wanted else "more than asked for"


def turn(trial: FrozenTrial) -> tuple[int, int]:
    """Returns what claims are ordered by.

    A trial has no ticket where its driver was alone when it claimed: it was the first.
    """
    return trial.user_attrs.get(TICKET, 0), trial.number


def next_ticket(trials: Sequence[FrozenTrial]) -> int:
    return 1 + max((trial.user_attrs.get(TICKET, 0) for trial in trials), default=0)


def is_drawing(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and trial.user_attrs.get(TICKET) == DRAWING
