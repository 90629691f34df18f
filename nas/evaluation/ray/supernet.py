"""Supernet on a cluster: its weights are trained by one task on a node, and kept by the keeper.

A task whose node goes is started again by Ray elsewhere, and goes on from the last checkpoint.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from nas.evaluation.ray.keeper import KeptCheckpoints
from nas.evaluation.ray.remote_calls import Outcome, ask, outcome_of, value_of
from nas.evaluation.ray.trainable import Shared, check_node, load_same_setting
from nas.evaluation.workers import WorkerLostError
from nas.training.supernet.state import SupernetEpoch
from nas.training.supernet.training import SupernetPlan, SupernetReport, trained_file
from search_spaces.graphs.errors import UserError

RETRIES = 5  # where its process or node is lost
POLL_S = 0.5


class SupernetThere:
    """Trains shared weights on a node of the cluster."""

    def __init__(self, shared: Shared, cpus: float, gpus: float) -> None:
        self.shared = shared
        self.resources = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES}

    def __call__(
        self,
        plan: SupernetPlan,
        on_epoch: Callable[[SupernetReport], None],
        may_go_on: Callable[[], bool],
        /,
    ) -> bytes | None:
        """Returns the file of the weights; None where it was stopped.

        Raises:
            UserError: As `trained_file`, and if every node that tried it was lost.
        """
        task = ray.remote(train_task).options(**self.resources)
        running, told = task.remote(self.shared), 0
        while True:
            done, _ = ray.wait([running], timeout=POLL_S)
            for report in ask(self.shared.keeper.epochs_after, told):
                on_epoch(report_of(report))
                told += 1
            if done:
                return result_of(running)
            if not may_go_on():
                ray.cancel(running, force=True)
                return None


def result_of(running: Any) -> bytes | None:  # noqa: ANN401  (Ray's references have no type)
    try:
        content: bytes | None = value_of(ray.get(running))
    except (RayError, WorkerLostError) as error:
        raise UserError(
            f"the supernet's training was lost on the cluster ({str(error).splitlines()[0]}); "
            "where it was is kept; go on with --resume"
        ) from None
    return content


def train_task(shared: Shared) -> Outcome:
    """Runs on a node: returns the file of the weights, or what went wrong."""
    return outcome_of(lambda: train_there(shared))


def train_there(shared: Shared) -> bytes | None:
    if os.path.isdir(shared.folder):
        os.chdir(shared.folder)
    check_node(shared)
    setting = load_same_setting(shared)
    plan = SupernetPlan(setting.space, setting.tensors, shared.config)
    return trained_file(
        plan,
        KeptCheckpoints(shared.keeper),
        every_s=shared.checkpoint_every_s,
        on_epoch=lambda report: ask(shared.keeper.note_epoch, told(report)),
    )


def told(report: SupernetReport) -> dict[str, Any]:
    return {
        "epoch": report.epoch,
        "epochs": report.epochs,
        "found": report.found.model_dump(),
        "seconds": report.seconds,
    }


def report_of(data: Mapping[str, Any]) -> SupernetReport:
    return SupernetReport(**{**data, "found": SupernetEpoch(**data["found"])})
