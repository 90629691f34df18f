"""Model files: a fitted model as one ``.npz``: a JSON header and plain arrays, never pickle.

They are kept in the folders of profiled devices.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from latency_models.devices.folders import profiles_folder, replacing
from latency_models.prediction.baselines import LookupModel, RooflineModel
from latency_models.prediction.composition import Parts
from latency_models.prediction.features import FEATURES, TERMS
from latency_models.prediction.learned import LearnedModel
from latency_models.prediction.roofline import Roofline
from latency_models.prediction.trees import Trees
from search_spaces.graphs.errors import UserError

M = TypeVar("M")
FORMAT = "hwnas.latency_model"
VERSION = 1
HEADER = "header"
FILE = "model.npz"
TRANSFERRED = "transferred.npz"  # of a device that other devices' models stand in for
COLUMNS = [*TERMS, *FEATURES]  # a model means nothing to other ones
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
KernelModel = LearnedModel | LookupModel | RooflineModel


@dataclass(frozen=True, slots=True, eq=False)
class FittedNetworks:
    """The networks that a composition was fitted to."""

    parts: Parts
    median_ms: Floats

    def with_rows(self, parts: Parts, median_ms: Sequence[float]) -> "FittedNetworks":
        return FittedNetworks(
            self.parts.with_rows(parts), np.concatenate([self.median_ms, median_ms])
        )


def no_networks(families: Sequence[str]) -> FittedNetworks:
    """What a composition is fitted to before any network was measured."""
    none = np.zeros(0)
    return FittedNetworks(Parts(np.zeros((0, len(families))), none, none), none)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceFit:
    """All that was fitted to a device's profile: what its file holds.

    Attributes:
        about: What the model says of itself, JSON-ready.
        readings: Milliseconds and relative spread of timed kernels, by the key of their text.
        families: Names of what a network's kernels are summed by, the last of all others.
    """

    about: Mapping[str, Any]
    kernels: KernelModel
    readings: Mapping[str, tuple[float, float]]
    families: tuple[str, ...]
    networks: FittedNetworks


def load_fit(device: str, folder: Path | None, make: Callable[[DeviceFit], M]) -> M:
    """Returns what ``make`` makes of what was fitted to a device's profile.

    Args:
        folder: Where profiles are kept; None is this user's folder.

    Raises:
        UserError: If the device was never profiled, or the file is damaged or too new.
    """
    path = (folder or profiles_folder()) / device / FILE
    if not path.is_file():
        raise no_model(device, devices_with(FILE, folder))
    header, arrays = read_model(path)
    if header.get("columns") != COLUMNS:
        raise UserError(
            f"{path} was fitted by another version of hwnas; fit it again with nas device fit "
            f"{device}"
        )
    try:
        timed = zip(arrays["readings"], arrays["spreads"], strict=True)
        parts = Parts(arrays["sums"], arrays["counts"], arrays["variances"])
        fit = DeviceFit(
            header["about"],
            kernel_model_of(header["kernels"], arrays),
            dict(zip(header["keys"], timed, strict=True)),
            tuple(header["groups"]),
            FittedNetworks(parts, arrays["networks"]),
        )
        return make(fit)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it and run nas "
            "device profile again"
        ) from None


def save_fit(fit: DeviceFit, folder: Path | None = None) -> Path:
    """Writes what was fitted into the device's profile and returns the file.

    Raises:
        UserError: If it cannot be written.
    """
    path = (folder or profiles_folder()) / str(fit.about["device"]) / FILE
    kernels, arrays = kernel_model_parts(fit.kernels)
    parts = fit.networks.parts
    own: Arrays = {
        "readings": np.array([ms for ms, _ in fit.readings.values()], np.float64),
        "spreads": np.array([spread for _, spread in fit.readings.values()], np.float64),
        "sums": parts.sums_ms,
        "counts": parts.counts,
        "variances": parts.variances,
        "networks": fit.networks.median_ms,
    }
    header = {
        "about": fit.about,
        "kernels": kernels,
        "keys": list(fit.readings),
        "groups": list(fit.families),
        "columns": COLUMNS,
    }
    write_model(path, header, arrays | own)
    return path


def no_model(device: str, profiled: Sequence[str]) -> UserError:
    known = ", ".join(profiled) or "none so far"
    name = device if re.fullmatch(r"[\w.-]+", device) else "NAME"
    return UserError(
        f"device {device!r} has no latency model (profiled devices: {known}); make one with nas "
        f"device profile {name} --space SPACE.yaml"
    )


def profiled_devices(folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the devices that have a model, fitted or transferred."""
    return tuple(sorted({*devices_with(FILE, folder), *devices_with(TRANSFERRED, folder)}))


def devices_with(file: str, folder: Path | None = None) -> tuple[str, ...]:
    """Returns the names of the devices whose profile has a file."""
    return tuple(
        sorted(path.parent.name for path in (folder or profiles_folder()).glob(f"*/{file}"))
    )


def write_model(path: Path, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes a model, whole or not at all.

    Raises:
        UserError: If it cannot be written.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()
    whole: dict[str, Any] = {HEADER: np.frombuffer(text, np.uint8), **arrays}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **whole)
    except OSError as error:
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
