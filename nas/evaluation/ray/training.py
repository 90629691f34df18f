"""Tune training: has candidates trained in the cluster, and tells whose fault a lost one is."""

import logging
from collections.abc import Mapping
from typing import Any

import ray

from nas.evaluation.ray.head_watch import answers
from nas.evaluation.ray.keeper import from_bytes, trained_networks
from nas.evaluation.ray.remote_calls import SilentClusterError, ask, value_of
from nas.evaluation.ray.trainable import trial_config
from nas.evaluation.ray.tune import TrialLostError, TuneRun
from nas.evaluation.workers import WorkerLostError
from nas.runs.folder import RunFolder
from nas.training.checkpoints import FolderCheckpoints
from nas.training.inheritance.parents import forget_heritage
from nas.training.loop import TrainingResult
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import graph_hash, to_json
from search_spaces.space.space import Architecture

log = logging.getLogger("nas.search")


class TuneTraining:
    """Has candidates trained by Ray Tune; threads may ask at once, and wait."""

    def __init__(self, run: RunFolder, tuning: TuneRun, keeper: Any) -> None:  # noqa: ANN401
        self.run = run
        self.checkpoints = FolderCheckpoints(run.checkpoints)
        self.trained = trained_networks(run)
        self.tuning = tuning
        self.keeper = keeper

    def __call__(self, candidate: Architecture, values: Mapping[str, float], /) -> TrainingResult:
        """Returns the trained candidate; waits for room in the cluster, and for the training.

        One that was delivered before its driver died is taken as it is.

        Raises:
            CandidateFailedError: If the candidate itself failed there.
            WorkerLostError: If its process or node is gone.
        """
        graph = candidate.graph
        key = graph_hash(graph)
        if (delivered := self.delivered(graph)) is not None:
            return delivered
        job = trial_config(key, to_json(candidate), values)
        try:
            if value_of(self.tuning.jobs.add(job).result())["went_on"]:
                log.info("%s went on from its checkpoint", key)
        except TrialLostError as error:
            raise self.lost(key, error) from None
        if (delivered := self.delivered(graph)) is None:
            raise UserError(
                f"the trained network {key} must be in {self.trained.folder}, and is not; leave "
                "the run folder alone while a search runs, and go on with --resume"
            )
        return delivered

    def delivered(self, graph: Graph) -> TrainingResult | None:
        """Returns the trained network that lies in the run folder; a damaged one is dropped."""
        key = graph_hash(graph)
        content = self.trained.load(key)
        if content is None:
            return None
        try:
            return from_bytes(content, graph)
        except UserError as error:
            log.warning("%s is trained again: %s", key, error)
            self.trained.drop(key)
            return None

    def forget(self, key: str) -> None:
        self.checkpoints.drop(key)
        self.trained.drop(key)
        forget_heritage(self.run, key)

    def lost(self, key: str, error: TrialLostError) -> WorkerLostError:
        """A process that died under a candidate counts against it.

        A node that went does not, nor a process that died while it loaded its data.
        """
        try:
            node_id = ask(self.keeper.last_node, key)
        except SilentClusterError as silent:
            return WorkerLostError(f"{error}; {silent}", is_candidates_fault=False)
        if node_id is None:
            reason = f"before it began: {error}"
            return WorkerLostError(reason, is_candidates_fault=False, at_start=True)
        if not is_there(node_id):
            return WorkerLostError(f"its node {node_id[:8]} is gone", is_candidates_fault=False)
        return WorkerLostError(f"its process died: {error}", is_candidates_fault=True)


def is_there(node_id: str) -> bool:
    """Whether a node answers; Ray itself takes up to 15 s to notice that one does not."""
    return any(
        node["Alive"] and answers(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
        for node in ray.nodes()
        if node["NodeID"] == node_id
    )
