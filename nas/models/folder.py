"""Model folder: a trained network on disk, wherever it comes from.

    architecture.json   the graph
    model.safetensors   its arrays, as `search_spaces.quantization.storage` keeps them
    metadata.json       name, where it came from, how an image becomes its input, class names

An export that has the torch format is one too, its batch norms folded. A folder is written whole
or not at all, and what is read is held against the rules of its records and its own checksums.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load

from nas.data.splits import Normalization
from nas.models.metadata import (
    ARCHITECTURE,
    ARRAYS,
    FORMAT,
    METADATA,
    VERSION,
    check_name,
    checked_bytes,
    damaged,
    read_metadata,
    sha256,
)
from nas.models.swap import folder_beside
from nas.runs.files import arrays_bytes
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import NORM_EPSILON, Model
from search_spaces.graphs.operators import Shape
from search_spaces.graphs.schema import read_as, shown
from search_spaces.quantization.codes import check_steps
from search_spaces.quantization.storage import restored, stored
from search_spaces.space.architecture import graph_hash, load_architecture, save_architecture
from search_spaces.space.space import Architecture

Fit = Literal["squash", "crop", "pad"]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """How an image becomes a network's input, as far as that is known.

    Attributes:
        name: What the input is called.
        mean: Subtracted from ``pixels / 255``, one a channel; None where it is not known.
        std: Divides what is left; known where ``mean`` is.
        image_shape: ``(C, H, W)`` that pictures are read at, before they are resized to the
            network's own; None where that is the network's.
        fit: How a picture of another aspect ratio is made to fit; see `nas.data.picture`.
        background: What transparency is composited on, a colour as in CSS.

    Raises:
        UserError: If mean and std are not both known, or no such numbers.
    """

    name: str = "input"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_shape: Shape | None = None
    fit: Fit | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise UserError(
                "an input's mean and std must both be given, or neither, got mean "
                f"{shown(self.mean)} and std {shown(self.std)}"
            )
        _ = self.normalization  # which refuses numbers that are none

    @property
    def normalization(self) -> Normalization | None:
        """What pixels are shifted and scaled by; None where it is not known."""
        if self.mean is None or self.std is None:
            return None
        return Normalization(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A trained network and what is known of it.

    Attributes:
        class_names: One a class; None where they are not known.
        source: Where it came from, as JSON-ready data: the file and SHA-256 of an import, the run
            of an export, the step of a compression.

    Raises:
        UserError: If the input or the class names do not fit the network, or it is no classifier.
    """

    name: str
    model: Model
    input: ModelInput
    class_names: tuple[str, ...] | None
    source: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.model.graph.output.shape[1:] != (1, 1):
            raise UserError(
                f"{self.name}: a model's output must be one number a class, got shape "
                f"{self.model.graph.output.shape}"
            )
        channels, mean, image = self.input_shape[0], self.input.mean, self.input.image_shape
        if mean is not None and len(mean) != channels:
            raise UserError(
                f"{self.name}: an input's mean and std must have a number for each of its "
                f"{channels} channels, got {len(mean)}"
            )
        if image is not None and (image[0] != channels or min(image) < 1):
            raise UserError(
                f"{self.name}: pictures must be read at a shape (C, H, W) of {channels} channels, "
                f"got {image}"
            )
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise UserError(
                f"{self.name}: a network of {self.num_classes} outputs needs as many class names, "
                f"got {len(self.class_names)}"
            )

    @property
    def input_shape(self) -> Shape:
        """``(C, H, W)``."""
        return self.model.graph.input_shape

    @property
    def num_classes(self) -> int:
        return self.model.graph.output.shape[0]


def read_model(path: Path) -> StoredModel:
    """Returns the network of a model folder, or of an export with the torch format.

    Raises:
        UserError: If it is no such folder, or damaged: a file missing or changed, an array of
            another shape or with a number that is none.
    """
    about = read_metadata(path)
    architecture = architecture_of(path, about)
    model = read_arrays(path, about, architecture.graph)
    try:
        return StoredModel(
            architecture.space,
            model,
            read_input(about["input"], model.graph),
            about["class_names"],
            about["source"] if "source" in about else source_of_export(about),
        )
    except UserError as error:
        raise damaged(path, str(error)) from None


def read_architecture(path: Path) -> Architecture:
    """Returns the architecture of a file, or of a model folder or export, without its arrays.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    if not path.is_dir():
        return load_architecture(path)
    return architecture_of(path, read_metadata(path))


def write_model(path: Path, model: StoredModel) -> None:
    """Writes a model folder, whole or not at all; an earlier one there is replaced.

    Raises:
        UserError: If ``path`` holds something else, an array has a number that is none, or the
            disk is full; what was there stays.
    """
    check_place(path)
    check_numbers(model.model)
    with folder_beside(path) as folder:
        graph = model.model.graph
        save_architecture(Architecture(model.name, (), graph), folder / ARCHITECTURE)
        (folder / ARRAYS).write_bytes(arrays_bytes(stored(model.model)))
        data = {
            "format": FORMAT,
            "version": VERSION,
            "name": model.name,
            "hash": graph_hash(graph),
            "input": input_json(model.input, graph.input_shape),
            "output": {"name": "logits", "shape": [model.num_classes]},
            "class_names": model.class_names,
            "source": dict(model.source),
            "files": {
                name: sha256((folder / name).read_bytes()) for name in (ARCHITECTURE, ARRAYS)
            },
        }
        text = json.dumps(data, indent=1, allow_nan=False) + "\n"
        (folder / METADATA).write_text(text, "utf-8")


def check_place(path: Path) -> None:
    """Raises:
    UserError: If ``path`` is there, not empty, and no model folder that may be replaced.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        if read_metadata(path)["format"] == FORMAT:
            return
    except UserError:
        pass
    raise UserError(f"{path} is there and is no model folder of hwnas; choose another with --to")


def fingerprint(model: Model) -> str:
    """Returns the SHA-256 over a network and its arrays; names of nodes do not count."""
    digest = hashlib.sha256(graph_hash(model.graph).encode())
    for name in model.graph.array_shapes():
        digest.update(np.ascontiguousarray(model.arrays[name], np.float32).data)
    return digest.hexdigest()


def input_json(known: ModelInput, shape: Shape) -> dict[str, Any]:
    """Returns how an image becomes an input of this shape, as JSON-ready data."""
    return {
        "name": known.name,
        "shape": list(shape),
        "layout": "NCHW",
        "dtype": "float32",
        "channel_order": {1: "grey", 3: "RGB"}.get(shape[0]),
        "image_shape": known.image_shape,
        "fit": known.fit,
        "background": known.background,
        "normalisation": "(pixels / 255 - mean) / std",
        "mean": known.mean,
        "std": known.std,
    }


def read_input(data: Mapping[str, Any], graph: Graph) -> ModelInput:
    """Returns the input that ``data`` describes, which must be the graph's."""
    if read_as(Shape, data.get("shape"), "input.shape") != graph.input_shape:
        raise UserError(
            f"input.shape must be the graph's {graph.input_shape}, got {shown(data['shape'])}"
        )
    names = {item.name for item in fields(ModelInput)}
    given = {key: value for key, value in data.items() if key in names}
    found: ModelInput = read_as(ModelInput, given, "input")
    return found


def architecture_of(path: Path, about: Mapping[str, Any]) -> Architecture:
    """Returns the graph of a folder, called as its metadata call it."""
    checked_bytes(path, ARCHITECTURE, about)
    found = load_architecture(path / ARCHITECTURE)
    run = about.get("run")
    name = f"{run} {about['name']}" if run else about["name"]
    return Architecture(name, found.genes, found.graph)


def read_arrays(path: Path, about: Mapping[str, Any], graph: Graph) -> Model:
    content = checked_bytes(path, ARRAYS, about)
    try:
        model = restored(graph, load(content))
        check_numbers(model)
        check_steps(model)
    except Exception as error:  # safetensors raises its own type for a damaged file
        raise damaged(path, f"{ARRAYS}: {one_line(error)}") from None
    return model


def check_numbers(model: Model) -> None:
    """Raises UserError if an array is not float32, or has numbers that compute nothing."""
    for name, array in model.arrays.items():
        if array.dtype != np.float32:
            raise UserError(f"array {name!r} must be float32, got {array.dtype}")
        if not np.isfinite(array).all():
            raise UserError(f"array {name!r} must hold finite numbers, got NaN or infinity")
        if name.endswith("norm.variance") and array.size and array.min() <= -NORM_EPSILON:
            raise UserError(f"array {name!r} must hold variances, got {array.min():g}")


def source_of_export(about: Mapping[str, Any]) -> dict[str, Any]:
    return {"from": "export", "run": about["run"], "weights": dict(about["weights"])}
