"""Start: the network and the images that a compression begins with, each as the other needs it."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.compression.running.recipe import CompressionRecipe
from nas.data.class_weights import class_weights
from nas.data.splits import Normalization, Splits
from nas.data.tensors import TensorSplits, training_device
from nas.models.examples import examples_of
from nas.models.folder import ModelInput, StoredModel, fingerprint
from nas.models.given.reading import is_archive, read_model
from nas.nn.half import half_type
from nas.nn.interpreter import to_model
from nas.problem.search_problem import Examples, load_splits
from nas.runs.findings.trained import stored_trial
from nas.runs.folder import has_run
from nas.runs.summary import data_summary
from nas.study.results import load_results
from nas.training.trainer import check_teacher, new_module
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d
from search_spaces.networks import NETWORKS, get_network

RESCALED = "input_rescaled"


@dataclass(frozen=True, slots=True)
class Start:
    """What a compression begins with.

    Attributes:
        given: What the network was named by.
        is_trained: False for a published network, which has first weights only.
        examples: The images, normalised as the network expects them.
    """

    given: str
    stored: StoredModel
    is_trained: bool
    examples: Examples

    @property
    def splits(self) -> Splits:
        return self.examples.splits

    @property
    def tensors(self) -> TensorSplits:
        return self.examples.tensors

    @property
    def data(self) -> dict[str, Any]:
        """What the images are, as it is kept to know them again."""
        return data_summary(self.splits)

    def stored_as(self, name: str, model: Model, source: dict[str, Any]) -> StoredModel:
        """Returns a network that was made of this one, for the same inputs and classes."""
        return replace(self.stored, name=name, model=model, source=source)


def load_start(given: str, recipe: CompressionRecipe, pick: str | None = None) -> Start:
    """Returns what a compression begins with.

    Args:
        given: A model folder (of an import, an export or a compression), an archive, a run
            folder, or the name of a published network.
        pick: Of a run: which network; the knee by default.

    Raises:
        UserError: If there is no such network, the data cannot be read, or they do not fit.
    """
    torch.set_num_threads(1)  # small networks lose by more, and one thread repeats exactly
    path, data, is_trained = Path(given).expanduser(), recipe.data, True
    if path.is_dir() and has_run(path):
        stored = picked(path, pick or "knee")
    elif pick is not None:
        raise UserError(f"--pick is for run folders, {given} is none; leave it out")
    elif path.is_dir() or is_archive(path):
        stored = read_model(path)
    elif given in NETWORKS:
        stored, is_trained = published(given, recipe), False
    else:
        raise no_network(given, path)
    if is_trained and (recipe.width, recipe.resolution) != (1.0, None):
        raise UserError(
            f"network.width and network.resolution are of a published network, {given} is built "
            "already; leave them out"
        )
    stored, examples = examples_of(stored, data, recipe.training.device)
    train = examples.splits.train
    sizes = np.bincount(train.labels, minlength=train.num_classes)
    for step in recipe.steps:
        class_weights(step.training.class_weights, train.class_names, sizes)
        half_type(examples.tensors.train.device, step.training.mixed_precision)
    return Start(given, stored, is_trained, examples)


def no_network(given: str, path: Path) -> UserError:
    if path.is_file():
        return UserError(
            f"{given} must be a folder or an archive, got another file; of an ONNX file make a "
            f"folder with 'nas import {given} --to FOLDER'"
        )
    near = get_close_matches(given, NETWORKS, 1)
    hint = f"did you mean {near[0]!r}?" if near else "see nas networks"
    return UserError(
        f"{given} must be a model folder, an archive, a run folder or a published network, and "
        f"is none; {hint}"
    )


def picked(path: Path, pick: str) -> StoredModel:
    """Returns a network of a run, with the weights that its search trained."""
    results = load_results(path)
    trial = results.pick(pick, None)
    source = {"from": "run", "run": results.config.name, "trial": trial.number, "hash": trial.hash}
    return replace(stored_trial(results, trial), source=source)


def published(name: str, recipe: CompressionRecipe) -> StoredModel:
    """Returns a published network for the recipe's data, with weights drawn from its seed."""
    side = recipe.resolution
    splits, _ = load_splits(recipe.data, (side or 224, side or 224))
    channels, height, _ = splits.train.image_shape
    try:
        graph = get_network(name)(
            width=recipe.width,
            resolution=side or height,
            num_classes=splits.train.num_classes,
            in_channels=channels,
        )
    except ValueError as error:
        raise UserError(
            f"{name} at resolution {side or height}: {error}; set network.resolution and "
            "network.width"
        ) from None
    module = new_module(graph, recipe.steps[0].training, None, training_device("cpu"))
    norm, names = splits.normalization, splits.train.class_names
    given = ModelInput(mean=norm.mean, std=norm.std)
    return StoredModel(name, to_model(module), given, names, {"from": "published"})


def read_teacher(path: str, start: Start, graph: Graph) -> Model:
    """Returns the network of a model folder for the inputs of ``start``.

    A teacher that expects inputs normalised otherwise has them rescaled before its first layer.

    Raises:
        UserError: If there is none, or it has other classes or another input than ``graph``.
    """
    folder = Path(path).expanduser()
    stored = read_model(folder)
    try:
        check_teacher(graph, stored.model.graph)
    except UserError as error:
        raise UserError(f"teacher {folder}: {error}") from None
    ours, theirs = start.stored.class_names, stored.class_names
    if ours and theirs and ours != theirs:
        number = next(n for n, name in enumerate(ours) if name != theirs[n])
        raise UserError(
            f"teacher {folder} must have the network's classes in their order, got "
            f"{theirs[number]!r} for {ours[number]!r}; take one trained on the same classes"
        )
    wanted = stored.input.normalization
    found = start.splits.normalization
    return stored.model if wanted in (None, found) else rescaled(stored.model, found, wanted)


def rescaled(model: Model, found: Normalization, wanted: Normalization | None) -> Model:
    """Returns the model for inputs normalised as ``found``: it normalises them as ``wanted``.

    ``(p - m') / s' = x * s / s' + (m - m') / s'`` for an input ``x = (p - m) / s``.
    """
    assert wanted is not None
    graph = model.graph
    channels = graph.input_shape[0]
    (m, s), (m2, s2) = (
        (np.array(n.mean, np.float64), np.array(n.std, np.float64)) for n in (found, wanted)
    )
    first = Node(
        RESCALED,
        Conv2d(channels, groups=channels, norm="none", bias=True, activation="none"),
        (INPUT,),
        graph.input_shape,
    )
    nodes = tuple(
        replace(node, inputs=tuple(RESCALED if n == INPUT else n for n in node.inputs))
        for node in graph.nodes
    )
    arrays: dict[str, Array] = {
        **model.arrays,
        f"{RESCALED}.weight": (s / s2).astype(np.float32).reshape(channels, 1, 1, 1),
        f"{RESCALED}.bias": ((m - m2) / s2).astype(np.float32),
    }
    return Model(Graph(graph.input_shape, (first, *nodes)), arrays)


def teacher_fingerprints(recipe: CompressionRecipe) -> dict[str, str]:
    """Returns the SHA-256 of every teacher that the recipe names, by its folder."""
    paths = [getattr(step.step, "teacher", None) for step in recipe.steps]
    return {path: fingerprint(read_model(Path(path).expanduser()).model) for path in paths if path}
