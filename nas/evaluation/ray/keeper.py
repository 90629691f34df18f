"""Keeper: a Ray actor on the driver's node that reads and writes the run folder for trainings.

Only the driver's machine needs to see the folder. The actor itself keeps no more than where each
candidate is trained, and who is lost without that counts as nobody's fault; so Ray may start it
anew at any time. A trained candidate comes from its node as one safetensors file.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from safetensors import SafetensorError
from safetensors.numpy import load

from nas.evaluation.early_stopping import Rungs
from nas.evaluation.ray.remote_calls import ask
from nas.problem.answers import confusion_from_json, confusion_to_json
from nas.problem.run_file import read_kept_file
from nas.runs.evaluation import Heritage
from nas.runs.files import DiskFullError, arrays_bytes
from nas.runs.folder import RunFolder
from nas.training.checkpoints import FolderCheckpoints
from nas.training.inheritance.first_weights import Parent
from nas.training.inheritance.parents import Parentage, parents_in
from nas.training.loop import TrainingResult
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.graphs.schema import read_as
from search_spaces.space.architecture import from_json as architecture_of
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture


class Keeper:
    """What trainings ask of the run folder; the actor's class.

    Args:
        path: The run folder's.
        spared: Hashes of networks that no rung stops.
    """

    def __init__(self, path: str, spared: Collection[str]) -> None:
        self.run = RunFolder(Path(path))
        self.spared = spared
        self.checkpoints = FolderCheckpoints(self.run.checkpoints)
        self.trained = trained_networks(self.run)
        self.places: dict[str, str] = {}
        self.epochs: list[Mapping[str, Any]] = []
        self._rungs: Rungs | None = None
        self._parents: Parentage | None = None

    def begin(self, key: str, node_id: str) -> None:
        """Notes on which node a candidate is trained."""
        self.places[key] = node_id

    def nodes(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns on which node each was trained last, of those that were."""
        return {key: self.places[key] for key in keys if key in self.places}

    def last_node(self, key: str) -> str | None:
        """Returns the node of a training that was lost, and forgets it: the next one is anew."""
        return self.places.pop(key, None)

    def load(self, key: str) -> bytes | None:
        return self.checkpoints.load(key)

    def save(self, key: str, content: bytes) -> str | None:
        """Writes a checkpoint; returns why that could not be, None where it could."""
        return why_full(self.checkpoints, key, content)

    def deliver(self, key: str, content: bytes) -> str | None:
        """Writes a trained network, as `save` does."""
        return why_full(self.trained, key, content)

    def drop(self, key: str) -> None:
        self.checkpoints.drop(key)

    def heritage_of(self, candidate: Mapping[str, Any]) -> Heritage | None:
        """Returns what a candidate, as JSON-ready data, inherits."""
        return self.parents.heritage_of(architecture_of(candidate))

    def parent(self, key: str) -> tuple[dict[str, Any], bytes] | str:
        """Returns a network as JSON-ready data and its weights; why not, where it has none."""
        try:
            found = self.parents.load(key)
        except UserError as error:
            return str(error)
        return to_json(found.architecture), arrays_bytes(found.arrays)

    def give_up(self, key: str) -> None:
        self.parents.give_up(key)

    @property
    def parents(self) -> Parentage:
        if self._parents is None:
            self._parents = parents_in(self.run, read_kept_file(self.run.config_file).config())
        return self._parents

    def supernet(self) -> bytes | None:
        """Returns the file of the trained supernet; None where there is none."""
        file = self.run.supernet_file
        return file.read_bytes() if file.exists() else None

    def note_epoch(self, report: Mapping[str, Any]) -> None:
        """Notes an epoch of the supernet, for the driver to tell."""
        self.epochs.append(report)

    def epochs_after(self, number: int) -> list[Mapping[str, Any]]:
        """Returns what was noted after the first so many."""
        return self.epochs[number:]

    def is_slice(self, key: str) -> bool:
        """Whether what is known of a network is a slice's, to be trained on."""
        return self.run.holds_slice(key)

    def may_go_on(
        self, key: str, values: Mapping[str, float], epoch: int, scores: Mapping[str, float]
    ) -> bool:
        if self._rungs is None:
            self._rungs = Rungs(
                self.run, read_kept_file(self.run.config_file).config(), self.spared
            )
        return self._rungs.may_go_on(key, values, epoch, scores)


def trained_networks(run: RunFolder) -> FolderCheckpoints:
    """Returns where trained networks lie until the driver has filed them."""
    return FolderCheckpoints(run.checkpoints / "trained")


def why_full(checkpoints: FolderCheckpoints, key: str, content: bytes) -> str | None:
    try:
        checkpoints.save(key, content)
    except DiskFullError as error:
        return str(error)
    return None


def start_keeper(run: RunFolder, node_id: str, spared: Collection[str]) -> Any:  # noqa: ANN401  (Ray's handles have no type)
    """Starts the keeper of ``run`` on this node; it ends with this driver."""
    here = NodeAffinitySchedulingStrategy(node_id, soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(Keeper).options(scheduling_strategy=here, **options)
    return actor.remote(str(run.path.resolve()), sorted(spared))


class KeptCheckpoints:
    """Checkpoints in the run folder, from any node of the cluster.

    Attributes:
        found: Whether one was found.
    """

    def __init__(self, keeper: Any) -> None:  # noqa: ANN401
        self.keeper = keeper
        self.found = False

    def load(self, key: str) -> bytes | None:
        content: bytes | None = ask(self.keeper.load, key)
        self.found = self.found or content is not None
        return content

    def save(self, key: str, content: bytes) -> None:
        """Raises:
        DiskFullError: If the driver's disk is full.
        """
        if (problem := ask(self.keeper.save, key, content)) is not None:
            raise DiskFullError(problem)

    def drop(self, key: str) -> None:
        ask(self.keeper.drop, key)


class KeptParents:
    """Parentage in the run folder, from any node of the cluster."""

    def __init__(self, keeper: Any) -> None:  # noqa: ANN401
        self.keeper = keeper

    def heritage_of(self, candidate: Architecture, /) -> Heritage | None:
        heritage: Heritage | None = ask(self.keeper.heritage_of, to_json(candidate))
        return heritage

    def load(self, key: str, /) -> Parent:
        """Raises:
        UserError: If its weights are gone or damaged.
        """
        found = ask(self.keeper.parent, key)
        if isinstance(found, str):
            raise UserError(found)
        architecture, arrays = found
        return Parent(architecture_of(architecture), load(arrays))

    def give_up(self, key: str, /) -> None:
        ask(self.keeper.give_up, key)

    def forget(self, key: str, /) -> None:
        """Nothing: the driver does, once it has filed the candidate."""


ABOUT = ".about"  # JSON, as an array beside the network's: no layer has an empty name


def to_bytes(result: TrainingResult) -> bytes:
    """Returns the trained network and how it was trained."""
    about = {
        "train_loss": list(result.train_loss),
        "validation_accuracy": list(result.validation_accuracy),
        "seconds": result.seconds,
        "finished": result.finished,
        "confusion": confusion_to_json(result.confusion),
        "inherited": None if result.inherited is None else asdict(result.inherited),
        "weights": result.weights,
        "shared_epochs": result.shared_epochs,
    }
    told = np.frombuffer(json.dumps(about).encode(), np.uint8)
    return arrays_bytes({**result.model.arrays, ABOUT: told})


def from_bytes(content: bytes, graph: Graph) -> TrainingResult:
    """Returns what `to_bytes` was given; ``graph`` is the network's.

    Raises:
        UserError: If the file is damaged, or of another network.
    """
    try:
        arrays = load(content)
        about = json.loads(arrays.pop(ABOUT).tobytes())
        inherited = about.get("inherited")
        return TrainingResult(
            Model(graph, arrays),
            tuple(about["train_loss"]),
            tuple(about["validation_accuracy"]),
            about["seconds"],
            about["finished"],
            confusion_from_json(about["confusion"]),
            None if inherited is None else read_as(Heritage, inherited, "inherited"),
            about["weights"],
            about["shared_epochs"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"a trained network that was delivered is damaged: {error}") from None
