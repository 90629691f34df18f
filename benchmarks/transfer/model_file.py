"""Transfer models on disk: an npz file of arrays and a line of JSON, never pickled objects."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from benchmarks.transfer.model import TransferModel
from latency_models.transfer.basis import Basis, Block
from latency_models.transfer.mixture import Draws
from search_spaces.graphs.errors import UserError

FORMAT = "hwnas.transfer"
VERSION = 1

BASIS = ("medians", "center", "spread", "offsets", "covariance", "rests")
BLOCK = ("center", "spread", "coefficients", "variances")
DRAWS = ("variances", "noises", "relative", "weights")


def save_transfer(model: TransferModel, path: Path) -> None:
    """Writes ``model`` to ``path``, whose folder is made where it is missing."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "scale": model.basis.scale,
        "unit_ms": model.unit_ms,
        "half_width": model.half_width,
        "blocks": len(model.basis.blocks),
        "groups": len(model.groups),
    }
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header))}
    arrays |= {f"basis.{name}": getattr(model.basis, name) for name in BASIS}
    for index, block in enumerate(model.basis.blocks):
        arrays |= {f"block{index}.{name}": getattr(block, name) for name in BLOCK}
    arrays |= {f"draws.{name}": getattr(model.draws, name) for name in DRAWS}
    arrays |= {f"group{index}": group for index, group in enumerate(model.groups)}
    arrays |= {"typical": model.typical, "values": model.values, "doubt": model.doubt}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:  # a name of its own: savez would append .npz
        np.savez_compressed(stream, **arrays)


def load_transfer(path: Path) -> TransferModel:
    """Returns the model that `save_transfer` wrote.

    Raises:
        UserError: If the file is missing, no transfer model, or of another version.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"no transfer model at {path}; save one with save_transfer") from error
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise UserError(f"{path} is not a transfer model: {error}") from error
    return _model(_header(arrays, path), arrays, path)


def _header(arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, Any]:
    try:
        header = json.loads(str(arrays["header"]))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not a transfer model: it has no header") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is not a transfer model: its header names no {FORMAT}")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has version {header.get('version')} of {FORMAT}, this program reads "
            f"{VERSION}; fit the model again"
        )
    return header


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]], path: Path) -> TransferModel:
    try:
        basis = {name: arrays[f"basis.{name}"] for name in BASIS}
        blocks = tuple(
            Block(**{name: arrays[f"block{index}.{name}"] for name in BLOCK})
            for index in range(header["blocks"])
        )
        return TransferModel(
            Basis(scale=header["scale"], blocks=blocks, **basis),
            header["unit_ms"],
            Draws(**{name: arrays[f"draws.{name}"] for name in DRAWS}),
            tuple(arrays[f"group{index}"] for index in range(header["groups"])),
            arrays["typical"],
            arrays["values"],
            arrays["doubt"],
            header["half_width"],
        )
    except KeyError as error:
        raise UserError(f"{path} is not a whole transfer model: it lacks {error}") from error
