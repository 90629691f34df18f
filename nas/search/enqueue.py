"""Enqueue: architectures that people want evaluated first, from files, models, runs or Python.

One that the space can decide is queued with its genes, so that samplers learn from it; another is
a trial of its own all the same, as long as it reads the images and tells the classes.
"""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState

from nas.models.given.reading import is_one_model, read_architecture
from nas.runs.folder import has_run
from nas.study.names import ARCHITECTURE, ENQUEUED, HASH
from nas.study.results import load_results
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash, load_architecture, to_json
from search_spaces.space.fit import fit
from search_spaces.space.space import Architecture
from search_spaces.space.staged import StagedSpace


def read_architectures(paths: Sequence[Path]) -> tuple[Architecture, ...]:
    """Returns the architectures of files, folders of files, models, and of the fronts of runs.

    Raises:
        UserError: If a path holds none, or a file is no architecture.
    """
    return tuple(architecture for path in paths for architecture in architectures_at(path))


def architectures_at(path: Path) -> list[Architecture]:
    if has_run(path):
        results = load_results(path)
        if not results.front:
            raise UserError(f"cannot enqueue {path}: {results.why_nothing}")
        return [results.run.load_architecture(trial.hash) for trial in results.front]
    if is_one_model(path):
        return [read_architecture(path)]
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise UserError(
            f"cannot enqueue {path}: it is no run, and has no architecture file (*.json)"
        )
    return [load_architecture(file) for file in files]


def fitted(space: StagedSpace, architectures: Sequence[Architecture]) -> tuple[Architecture, ...]:
    """Returns the architectures as the space decides them, where it can.

    Raises:
        UserError: If one does not read the images, or tells other classes.
    """
    return tuple(fitted_one(space, architecture) for architecture in architectures)


def fitted_one(space: StagedSpace, architecture: Architecture) -> Architecture:
    graph = architecture.graph
    found = (graph.input_shape[0], graph.nodes[-1].shape[0])
    wanted = (space.in_channels, space.num_classes)
    if found != wanted:
        raise UserError(
            f"cannot enqueue architecture {graph_hash(graph)} of {architecture.space!r}: it is "
            f"for images of {found[0]} channels and {found[1]} classes, the data has {wanted[0]} "
            f"and {wanted[1]}"
        )
    return fit(space, graph) or Architecture(architecture.space, (), graph)


def enqueue(study: optuna.Study, architectures: Sequence[Architecture]) -> int:
    """Queues what the study does not have yet, in this order; returns how many."""
    states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
    trials = study.get_trials(deepcopy=False, states=states)
    known = {t.user_attrs.get(name) for t in trials for name in (HASH, ENQUEUED)}
    queued = 0
    for architecture in architectures:
        key = graph_hash(architecture.graph)
        if key in known:
            continue
        known.add(key)
        queued += 1
        attributes: dict[str, object] = {ENQUEUED: key}
        if not architecture.genes:
            attributes[ARCHITECTURE] = to_json(architecture)
        study.enqueue_trial(dict(architecture.genes), user_attrs=attributes)
    return queued
