"""Candidate training: how a search's candidates are trained, and taken up where they were.

A candidate whose process dies goes on from its last checkpoint, in whatever process it is trained
next, and comes to the same weights as if nothing had happened.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Protocol

from latency_models.devices.lock import making_way
from nas.data.tensors import TensorSplit, TensorSplits
from nas.models.folder import fingerprint
from nas.problem.records import RunConfig
from nas.problem.training_config import TrainingConfig
from nas.runs.evaluation import Heritage
from nas.training.accuracy import confusion
from nas.training.checkpoints import Checkpoints
from nas.training.inheritance.first_weights import first_weights, shortened
from nas.training.inheritance.parents import NO_PARENTS, Parentage
from nas.training.kept_state import CHECKPOINT_EVERY_S, KeptState
from nas.training.loop import EpochReport, TrainingResult, go_on, train
from nas.training.state import Recipe, TrainingState, data_fingerprint
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

log = logging.getLogger("nas.search")


class TrainingTooLongError(UserError):
    """A candidate that trains for longer than the search allows."""


class CandidateFailedError(UserError):
    """A candidate that failed by its own fault where it was trained, far from here."""


class CandidateTraining(Protocol):
    """Trains the candidates of a search."""

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        """Returns the trained network.

        Args:
            values: What is known of the candidate before: its costs, and its latency.

        Raises: as `nas.training.loop.train`, and TrainingTooLongError.
        """
        ...

    def forget(self, key: str) -> None:
        """Lets go of what was kept to take up the training of the graph with this hash."""
        ...


# Asked with the candidate's hash, what is known of it, and the epoch that just ended.
MayGoOn = Callable[[str, Mapping[str, float], EpochReport], bool]


def always(key: str, values: Mapping[str, float], report: EpochReport) -> bool:
    """For searches that end no training early."""
    return True


@dataclass(frozen=True, slots=True)
class Beginning:
    """How the training of a candidate begins.

    Attributes:
        config: What it is trained by.
        heritage: What it inherits; None where it is trained from nothing.
        arrays: Its first weights, where it inherits and begins.
    """

    candidate: Architecture
    config: TrainingConfig
    heritage: Heritage | None = None
    arrays: Mapping[str, Array] | None = None

    @property
    def graph(self) -> Graph:
        return self.candidate.graph

    @property
    def key(self) -> str:
        return graph_hash(self.graph)


class LocalTraining:
    """Trains in this process, and saves a checkpoint now and then.

    Args:
        teacher: What all candidates learn from, if anything.
        parents: Whom candidates inherit their first weights from.
        may_go_on: Asked after each epoch but the last; it must answer the same again for an epoch
            that is run once more, from a checkpoint before it.
        every_s: Least seconds between two checkpoints; 0 saves one after every epoch.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TensorSplits,
        checkpoints: Checkpoints,
        may_go_on: MayGoOn = always,
        *,
        every_s: float = CHECKPOINT_EVERY_S,
        teacher: Model | None = None,
        parents: Parentage = NO_PARENTS,
    ) -> None:
        self.config = config
        self.parents = parents
        self.teacher = teacher
        self.data = data
        self.checkpoints = checkpoints
        self.may_go_on = may_go_on
        self.every_s = every_s

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        heritage = self.parents.heritage_of(candidate)
        begun = Beginning(candidate, self.recipe_of(heritage), heritage)
        if (state := self.kept(begun).load()) is None and heritage is not None:
            begun = self.inheriting(begun, heritage)
        return replace(self.train(begun, values, state), inherited=begun.heritage)

    def forget(self, key: str) -> None:
        self.checkpoints.drop(key)
        self.parents.forget(key)

    def kept(self, begun: "Beginning") -> KeptState:
        """Returns where the state of a candidate's training is kept."""
        recipe = self.recipe(begun.graph, begun.config)
        return KeptState(self.checkpoints, recipe, self.every_s)

    def recipe_of(self, heritage: Heritage | None) -> TrainingConfig:
        """Returns how a candidate is trained."""
        rule, recipe = self.config.search.inherit, self.config.training
        return recipe if rule is None or heritage is None else shortened(recipe, rule)

    def inheriting(self, begun: "Beginning", heritage: Heritage) -> "Beginning":
        """Returns the beginning with its parent's weights, else with nothing."""
        key = begun.key
        try:
            parent = self.parents.load(heritage.parent)
            arrays = first_weights(begun.candidate, parent, self.data.train, begun.config)
        except UserError as error:
            log.warning("%s is trained from nothing, not from its parent: %s", key, error)
            self.parents.give_up(key)
            return Beginning(begun.candidate, self.recipe_of(None))
        log.info(
            "%s begins with weights of %s (%.0f %% of its own), for %d epochs",
            *(key, heritage.parent, 100 * heritage.share, begun.config.epochs),
        )
        return replace(begun, arrays=arrays)

    def train(
        self, begun: "Beginning", values: Mapping[str, float], state: TrainingState | None
    ) -> TrainingResult:
        key = begun.key
        # A GPU must never wait for a measurement, and hardly disturbs one on the CPU.
        on_gpu = self.data.train.device.type == "cuda"
        with nullcontext(go_on) if on_gpu else making_way() as make_way:
            spent_s = state.seconds if state is not None else 0.0
            limit = TimeLimit(self.config.search.training_limit_s, make_way, spent_s)
            return train(
                begun.graph,
                self.data,
                begun.config,
                arrays=begun.arrays,
                teacher=self.teacher,
                before_step=limit.before_step,
                state=state,
                on_state=self.kept(begun).saver(),
                may_go_on=lambda report: self.may_go_on(key, values, report),
                clock=limit.clock,
            )

    def recipe(self, graph: Graph, config: TrainingConfig | None = None) -> Recipe:
        """Returns what the states of a candidate's training belong to.

        Args:
            config: None takes that of training from nothing.
        """
        how, device = config or self.config.training, self.data.train.device.type
        return Recipe(graph, how, self.data_fingerprint, device, self.teacher_fingerprint)

    @cached_property
    def teacher_fingerprint(self) -> str | None:
        return None if self.teacher is None else fingerprint(self.teacher)

    @cached_property
    def data_fingerprint(self) -> str:
        return data_fingerprint(self.data)


class GivenWeights:
    """Takes networks as they are whose weights are given, and has all others trained.

    Args:
        given: By the hash of their graph.
        split: What they are scored on.
    """

    def __init__(
        self, training: CandidateTraining, given: Mapping[str, Model], split: TensorSplit
    ) -> None:
        self.training = training
        self.given = given
        self.split = split

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        model = self.given.get(graph_hash(candidate.graph))
        if model is None:
            return self.training(candidate, values)
        start = perf_counter()
        try:
            found = confusion(model, self.split)
        except FloatingPointError as error:
            raise CandidateFailedError(f"its weights were given: {error}") from None
        seconds = perf_counter() - start
        return TrainingResult(model, (), (), seconds, finished=True, confusion=found)

    def forget(self, key: str) -> None:
        self.training.forget(key)


class TimeLimit:
    """Ends a training that takes too long; waiting for a measurement does not count.

    Args:
        spent_s: What it took before it was taken up.
    """

    def __init__(
        self, limit_s: float | None, make_way: Callable[[], None], spent_s: float = 0.0
    ) -> None:
        self.limit_s = limit_s
        self.make_way = make_way
        self.waited_s = 0.0
        self.start = self.clock() - spent_s

    def clock(self) -> float:
        """Returns the time, as seconds of a clock that stands still while the training waits."""
        return perf_counter() - self.waited_s

    def before_step(self) -> None:
        if self.limit_s is not None and self.clock() - self.start > self.limit_s:
            raise TrainingTooLongError(
                f"training must end within search.training_limit_s (={self.limit_s:g}), and goes "
                "on; raise that limit, or take large candidates out of the space"
            )
        before = perf_counter()
        self.make_way()
        self.waited_s += perf_counter() - before
