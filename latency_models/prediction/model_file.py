"""Model files: a fitted model as one ``.npz``: a JSON header and plain arrays, never pickle."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from latency_models.prediction.baselines import LookupModel, RooflineModel
from latency_models.prediction.learned import LearnedModel
from latency_models.prediction.roofline import Roofline
from latency_models.prediction.trees import Trees
from search_spaces.graphs.errors import UserError

FORMAT = "hwnas.latency_model"
VERSION = 1
HEADER = "header"
Arrays = dict[str, NDArray[Any]]
KernelModel = LearnedModel | LookupModel | RooflineModel


def write_model(path: Path, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes a model, whole or not at all.

    Raises:
        UserError: If it cannot be written.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            whole: dict[str, Any] = {HEADER: np.frombuffer(text, np.uint8), **arrays}
            np.savez(file, **whole)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def read_model(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Returns header and arrays of a model file.

    Raises:
        UserError: If it is no such file, is damaged, or of a newer version.
    """
    try:
        with path.open("rb") as opened, NpzFile(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(HEADER).tobytes())
    except Exception as error:  # what is not whole may fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is no latency model ({reason}); remove it and run nas device profile again"
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is no latency model: its format must be {FORMAT!r}")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has version {header.get('version')}, this hwnas reads {VERSION}; fit it "
            "again with nas device profile"
        )
    return header, arrays


def kernel_model_parts(model: KernelModel) -> tuple[dict[str, Any], Arrays]:
    """Returns header and arrays of a model of kernels."""
    header: dict[str, Any] = {
        "roofline": asdict(model.roofline),
        "doubts": dict(model.doubts),
        "kinds": list(model.sizes),
    }
    arrays: Arrays = {"sizes": np.array(list(model.sizes.values()), np.float64)}
    match model:
        case LearnedModel():
            header |= {"model": "learned", "families": list(model.prices)}
            header |= {"folds": len(model.folds)}
            arrays["prices"] = np.array(list(model.prices.values()), np.float64)
            for index, trees in enumerate(model.folds):
                arrays |= trees.arrays(f"trees{index}.")
        case LookupModel():
            lengths = [len(slower) for _, slower in model.known.values()]
            header |= {"model": "lookup", "lengths": lengths}
            arrays["known_sizes"] = np.concatenate([sizes for sizes, _ in model.known.values()])
            arrays["slower"] = np.concatenate([slower for _, slower in model.known.values()])
        case RooflineModel():
            header |= {"model": "roofline"}
    return header, arrays


def kernel_model_of(header: Mapping[str, Any], arrays: Arrays) -> KernelModel:
    """Returns the model of kernels whose parts were given.

    Raises:
        KeyError: If a part is missing, or the model is unknown.
    """
    roofline = Roofline(**header["roofline"])
    sizes = dict(zip(header["kinds"], arrays["sizes"], strict=True))
    doubts = header["doubts"]
    match header["model"]:
        case "learned":
            prices = dict(zip(header["families"], arrays["prices"], strict=True))
            folds = tuple(
                Trees.of_arrays(arrays, f"trees{index}.") for index in range(header["folds"])
            )
            return LearnedModel(roofline, prices, folds, doubts, sizes)
        case "lookup":
            ends = np.cumsum(header["lengths"])[:-1]
            known = zip(
                np.split(arrays["known_sizes"], ends),
                np.split(arrays["slower"], ends),
                strict=True,
            )
            return LookupModel(
                roofline, dict(zip(header["kinds"], known, strict=True)), doubts, sizes
            )
        case "roofline":
            return RooflineModel(roofline, doubts, sizes)
    raise KeyError(header["model"])
