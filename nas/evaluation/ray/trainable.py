"""Trainable: what Ray Tune runs on a node of the cluster; one trial trains one candidate.

An actor is used again for the next candidate, so the data is loaded once. Everything that a
training needs from the run folder, it asks of the keeper on the driver's node.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import tune

from nas.evaluation.ray.keeper import KeptCheckpoints, KeptParents, to_bytes
from nas.evaluation.ray.nodes.sources import survey
from nas.evaluation.ray.remote_calls import UnfitNodeError, ask, outcome_of
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting, load_setting
from nas.runs.files import DiskFullError
from nas.runs.summary import data_summary
from nas.training.candidate import CandidateTraining, LocalTraining, MayGoOn
from nas.training.checkpoints import Checkpoints
from nas.training.inheritance.parents import NO_PARENTS
from nas.training.loop import EpochReport
from nas.training.supernet.candidate import SupernetTraining
from nas.training.supernet.training import SupernetPlan
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import from_json

CHECKPOINT_EVERY_S = 10.0  # moving to another node is more likely than dying at home

# Makes what trains in an actor, once.
OpenTraining = Callable[["Shared", Checkpoints, MayGoOn], CandidateTraining]


def open_training(
    shared: "Shared", checkpoints: Checkpoints, may_go_on: MayGoOn
) -> CandidateTraining:
    """Loads the data on this node, to train with it here.

    Raises:
        UnfitNodeError: If it is another copy than the driver's.
    """
    config, setting = shared.config, load_same_setting(shared)
    every_s = shared.checkpoint_every_s
    training = LocalTraining(
        config,
        setting.tensors,
        checkpoints,
        may_go_on,
        every_s=every_s,
        teacher=shared.teacher,
        parents=NO_PARENTS if config.search.inherit is None else KeptParents(shared.keeper),
    )
    if config.search.evaluation != "supernet":
        return training
    keeper = shared.keeper
    return SupernetTraining(
        training,
        SupernetPlan(setting.space, setting.tensors, config),
        lambda: ask(keeper.supernet),
        lambda key: ask(keeper.is_slice, key),
    )


def load_same_setting(shared: "Shared") -> Setting:
    """Returns the data on this node, and what a search works on.

    Raises:
        UnfitNodeError: If it is another copy than the driver's.
    """
    setting = load_setting(shared.config)
    if data_summary(setting.splits)["fingerprints"] != shared.fingerprints:
        raise UnfitNodeError(f"{node()} has another copy of the data; put the driver's there")
    return setting


@dataclass(frozen=True, slots=True)
class Shared:
    """What all trials of a search share.

    Attributes:
        config: The run's, without the address of its study.
        keeper: The actor that sees the run folder.
        folder: The driver's, which paths of the data are relative to.
        fingerprints: Of the splits of the driver's data.
        survey: The driver's versions, as `nas.evaluation.ray.nodes.sources.survey` tells them.
        checkpoint_every_s: Least seconds between two checkpoints of a training.
        open_training: Makes what trains in an actor.
        teacher: What all candidates learn from, if anything; it travels to each actor once.
    """

    config: RunConfig
    keeper: Any
    folder: str
    fingerprints: Mapping[str, str]
    survey: Mapping[str, Any]
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    open_training: OpenTraining = open_training
    teacher: Model | None = None


def shared_config(config: RunConfig) -> RunConfig:
    """Returns the configuration without what no training needs: where the study is."""
    return replace(config, search=replace(config.search, storage=None))


class CandidateTrainable(tune.Trainable):  # type: ignore[misc]  # Ray has no types
    """Trains the candidate of its configuration in one step.

    The configuration is a `trial_config`. Checkpoints are not Tune's: they go to the keeper, by
    the candidate's hash, from any actor to any other.
    """

    def setup(self, config: dict[str, Any], shared: Shared) -> None:
        self.shared = shared
        self.candidate = config
        self.checkpoints = KeptCheckpoints(shared.keeper)
        self.training: CandidateTraining | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.candidate = new_config
        return True

    def step(self) -> dict[str, Any]:
        return {"outcome": outcome_of(self.train_candidate), "done": True}

    def train_candidate(self) -> dict[str, Any]:
        """Trains and delivers to the keeper; returns whether it went on from a checkpoint."""
        key, keeper = self.candidate["key"], self.shared.keeper
        training = self.opened()
        # Who dies before this was not killed by the candidate: it waits until it is noted.
        ask(keeper.begin, key, ray.get_runtime_context().get_node_id())
        candidate = from_json(self.candidate["architecture"])
        self.checkpoints.found = False
        result = training(candidate, self.candidate["values"])
        if (problem := ask(keeper.deliver, key, to_bytes(result))) is not None:
            raise DiskFullError(problem)
        return {"went_on": self.checkpoints.found}

    def opened(self) -> CandidateTraining:
        if self.training is None:
            if os.path.isdir(self.shared.folder):
                os.chdir(self.shared.folder)
            check_node(self.shared)
            opening = self.shared.open_training
            self.training = opening(self.shared, self.checkpoints, self.may_go_on)
        return self.training

    def may_go_on(self, key: str, values: Mapping[str, float], report: EpochReport) -> bool:
        if self.shared.config.search.early_stopping is None:
            return True
        keeper = self.shared.keeper
        answer: bool = ask(keeper.may_go_on, key, dict(values), report.epoch, dict(report.scores))
        return answer

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: see the class."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: see the class."""


def check_node(shared: Shared) -> None:
    """Nodes that join while a search runs were not there to be checked before it."""
    here = survey()
    for name, wanted in shared.survey.items():
        if here.get(name) != wanted:
            raise UnfitNodeError(
                f"{node()} has another {name} ({here.get(name)}, the driver {wanted}); "
                "install the same there"
            )


def node() -> str:
    return f"node {ray.get_runtime_context().get_node_id()[:8]}"


def trial_config(
    key: str, architecture: Mapping[str, Any], values: Mapping[str, float]
) -> dict[str, Any]:
    """Returns what `CandidateTrainable` is configured with.

    Args:
        key: The hash of the candidate's graph.
        architecture: The candidate as JSON.
        values: What is known of it.
    """
    return {"key": key, "architecture": dict(architecture), "values": dict(values)}
