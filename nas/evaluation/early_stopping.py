"""Rungs: early stopping of trainings by Pareto rank, so that a fast network need not be accurate.

At epochs ``grace * reduction**k`` (the rungs) a training goes on if its network belongs to the
best ``1 / reduction`` of all that reached the rung so far, or if none of them dominates it.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020,
https://arxiv.org/abs/1810.05934, in its stopping variant, as in Ray Tune and Syne Tune; ranks as
in Schmucker et al., "Multi-objective Asynchronous Successive Halving" (MO-ASHA), 2021,
https://arxiv.org/abs/2106.12639.
Differs from the papers: the first front goes on as a whole, and lonely means NSGA-II's crowding
distance instead of the order of an epsilon-net; see `survives`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.problem.metrics import ARCHIVE_BYTES, METRICS, Metric
from nas.problem.pareto import Points, crowding_distances, non_dominated
from nas.problem.records import RunConfig
from nas.runs.files import read_json, write_json
from nas.runs.folder import RunFolder
from search_spaces.graphs.errors import UserError

REMEDY = "delete it and go on with --resume; its network then counts as new at every rung"


def rung_epochs(epochs: int, grace: int, reduction: int) -> tuple[int, ...]:
    """Returns the epochs after which a training of ``epochs`` may be stopped.

    >>> rung_epochs(30, grace=1, reduction=3)
    (1, 3, 9, 27)
    """
    rungs = []
    epoch = grace
    while epoch < epochs:
        rungs.append(epoch)
        epoch *= reduction
    return tuple(rungs)


def survives(
    candidate: Mapping[str, float],
    others: Sequence[Mapping[str, float]],
    metrics: Sequence[Metric],
    reduction: int,
) -> bool:
    """Whether ``candidate`` goes on from a rung that ``others`` reached before it.

    Of n that reached it (itself included), fewer than ``ceil(n / reduction)`` may be ahead of it.
    Ahead are those of a better front (peeled off one after another) and, in its own front, the
    lonelier ones; equals are not ahead of each other. With one objective this is ASHA's rule: at
    least the quantile ``1 - 1 / reduction`` of the rung. While n < ``reduction`` all go on.

    What nobody dominates goes on whatever its share. It is the best known trade-off of its kind,
    and stopping is for good: it would leave a hole in the final front. A network faster than all
    others is therefore never stopped, and what is stopped was beaten by a network that is no
    slower. The price is that little is stopped where few dominate each other: with many
    objectives, or where children are bred close to the front.

    Args:
        candidate: Metric name to value at this rung; what training tells is of its epoch.
        others: The same of those that reached the rung, whatever became of them.
    """
    if len(others) + 1 < reduction:
        return True
    rows = [[values[metric.name] for metric in metrics] for values in (*others, candidate)]
    points = np.array(rows, dtype=np.float64)
    places = -(-len(points) // reduction)
    rank, ahead, peers = front_of_last(points, metrics)
    if rank == 0 or ahead >= places:
        return rank == 0
    lonely = loneliness(points[peers], metrics)
    return bool(ahead + np.count_nonzero(lonely > lonely[-1]) < places)


def front_of_last(points: Points, metrics: Sequence[Metric]) -> tuple[int, int, NDArray[np.intp]]:
    """Returns which front the last point is in, how many points better fronts hold, and its rows.

    Fronts count from 0; a row's own comes last in its front.
    """
    left = np.arange(len(points))
    rank = 0
    while True:
        best = non_dominated(points[left], metrics)
        if best[-1]:
            return rank, len(points) - len(left), left[best]
        left = left[~best]
        rank += 1


def loneliness(points: Points, metrics: Sequence[Metric]) -> Points:
    """Returns crowding distances, whatever the order of the points; equals have the same."""
    distinct, rows = np.unique(points, axis=0, return_inverse=True)
    return crowding_distances(distinct, metrics)[rows.reshape(-1)]


@dataclass(frozen=True, slots=True)
class Reached:
    """What a network was when it reached a rung.

    Attributes:
        values: Objective to value, what training tells that of the epoch.
        goes_on: What was decided; None where that was interrupted.
    """

    epoch: int
    values: Mapping[str, float]
    goes_on: bool | None = None


def known_early(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Returns what networks are compared in while they train.

    The size of an archive takes trained arrays; at a rung the size of the weights stands for it,
    which is in proportion to it in networks of one kind.

    >>> [metric.name for metric in known_early((METRICS["accuracy"], METRICS[ARCHIVE_BYTES]))]
    ['accuracy', 'size_bytes']
    """
    found = (METRICS["size_bytes"] if m.name == ARCHIVE_BYTES else m for m in metrics)
    return tuple(dict.fromkeys(found))


class Rungs:
    """Decides for one run after every epoch whether a training goes on, and keeps it on file.

    Each network has a file of its own, ``rungs/HASH.json``, so several processes can record at
    once; each decision is made with what the others have recorded until then. What was decided
    stays decided: a network that is trained again after a kill gets the same answers.

    Args:
        spared: Hashes of networks that are recorded but never stopped.
    """

    def __init__(self, run: RunFolder, config: RunConfig, spared: Collection[str] = ()) -> None:
        self.run = run
        self.metrics = known_early(config.objectives)
        self.rule = config.search.early_stopping
        self.epochs: tuple[int, ...] = ()
        if self.rule is not None:
            epochs = config.training.epochs
            self.epochs = rung_epochs(epochs, self.rule.grace_epochs, self.rule.reduction)
        self.spared = frozenset(spared)

    def may_go_on(
        self, key: str, values: Mapping[str, float], epoch: int, scores: Mapping[str, float]
    ) -> bool:
        """Whether the network with hash ``key`` is to be trained for longer than ``epoch``.

        Args:
            values: Every objective that is known before the training's end.
            epoch: Epochs trained so far, from 1.
            scores: The others: on the validation images, after this epoch.

        Raises:
            UserError: If a file of the rungs is damaged, or the disk is full.
        """
        if self.rule is None or epoch not in self.epochs:
            return True
        path = self.run.rungs / f"{key}.json"
        earlier = read_reached(path, self.metrics)
        decided = [at.goes_on for at in earlier if at.epoch == epoch]
        if decided and decided[0] is not None:
            return decided[0]
        now = {**values, **scores}
        reached = Reached(epoch, {m.name: float(now[m.name]) for m in self.metrics})
        rest = [at for at in earlier if at.epoch != epoch]
        # Others that decide at this moment shall count this one.
        write_reached(path, (*rest, reached))
        others = [at.values for at in self.others(path) if at.epoch == epoch]
        goes_on = key in self.spared or survives(
            reached.values, others, self.metrics, self.rule.reduction
        )
        write_reached(path, (*rest, replace(reached, goes_on=goes_on)))
        return goes_on

    def others(self, path: Path) -> Iterator[Reached]:
        """Yields what all other networks were at their rungs."""
        for other in sorted(self.run.rungs.glob("*.json")):
            if other != path:
                yield from read_reached(other, self.metrics)


def read_reached(path: Path, metrics: Sequence[Metric]) -> tuple[Reached, ...]:
    """Returns the rungs that a network reached; () where it has no file.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        rungs: tuple[Reached, ...] = read_json(path, REMEDY, {"rungs": tuple[Reached, ...]})[
            "rungs"
        ]
    except FileNotFoundError:
        return ()
    except KeyError:
        raise UserError(f"{path} is damaged (it lacks its rungs); {REMEDY}") from None
    for rung in rungs:
        if missing := [metric.name for metric in metrics if metric.name not in rung.values]:
            raise UserError(f"{path} is damaged (a rung lacks {missing[0]}); {REMEDY}")
    return rungs


def write_reached(path: Path, rungs: Sequence[Reached]) -> None:
    rows = [{"epoch": r.epoch, "values": dict(r.values), "goes_on": r.goes_on} for r in rungs]
    write_json(path, {"hash": path.stem, "rungs": rows})
