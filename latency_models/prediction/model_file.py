"""Model files: a fitted model as one ``.npz``: a JSON header and plain arrays, never pickle.

They are kept in the folders of profiled devices.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from latency_models.devices.arrays import checked_array, read_arrays
from latency_models.devices.cpu import VectorUnit
from latency_models.devices.device import Runtime
from latency_models.devices.folders import profiles_folder, replacing
from latency_models.measurement.readings import LEAST_MS, MOST_MS
from latency_models.prediction.baselines import LookupModel, RooflineModel
from latency_models.prediction.composition import Parts
from latency_models.prediction.features import FEATURES, TERMS
from latency_models.prediction.kernel_rows import RANGED
from latency_models.prediction.learned import ANY, LearnedModel
from latency_models.prediction.roofline import Roofline
from latency_models.prediction.trees import Trees
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.schema import parse_json, read_as, shown

M = TypeVar("M")
FORMAT = "hwnas.latency_model"
VERSION = 1
HEADER = "header"
FILE = "model.npz"
TRANSFERRED = "transferred.npz"  # of a device that other devices' models stand in for
COLUMNS = [*TERMS, *FEATURES]  # a model means nothing to other ones
SEEN = len(COLUMNS) + 3  # what trees see of a kernel: also its kind, and what simpler models say
ModelName = Literal["learned", "lookup", "roofline"]
# What a model relies on of what it says of itself.
ABOUT: Mapping[str, Any] = {
    **{"device": str, "runtime": Runtime, "vector_unit": VectorUnit, "model": ModelName},
    **{"drift": float, "sensitivity": float},
    **{"target": str, "tuned": bool, "threads": int, "cpu": str, "last": str},
    **{"kernels": int, "set_aside": int},
}
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
        return make(fit_of(header, arrays))
    except (UserError, KeyError, ValueError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is damaged ({reason}); remove it and run nas device profile again"
        ) from None


def fit_of(header: Mapping[str, Any], arrays: Arrays) -> DeviceFit:
    """Returns what header and arrays hold, each held against what it must be.

    Raises:
        UserError: If one is not.
        KeyError: If a part of the header is missing.
    """
    about = read_about(header["about"], ABOUT)
    keys = read_as(tuple[str, ...], header["keys"], "keys")
    families = read_as(tuple[str, ...], header["groups"], "groups")
    times = checked_array(arrays, "readings", (len(keys),), LEAST_MS, MOST_MS)
    spreads = checked_array(arrays, "spreads", (len(keys),), 0)
    medians = checked_array(arrays, "networks", (None,), LEAST_MS, MOST_MS)
    number = len(medians)
    parts = Parts(
        checked_array(arrays, "sums", (number, len(families)), 0, MOST_MS),
        checked_array(arrays, "counts", (number,), 1),
        checked_array(arrays, "variances", (number,), 0),
    )
    if number and parts.sums_ms.sum(1).min() < LEAST_MS:
        raise UserError("array 'sums' holds a network that takes no time")
    readings = dict(zip(keys, zip(times, spreads, strict=True), strict=True))
    kernels = kernel_model_of(read_as(Mapping[str, Any], header["kernels"], "kernels"), arrays)
    return DeviceFit(about, kernels, readings, families, FittedNetworks(parts, medians))


def read_about(about: object, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model says of itself, what is relied on held against its kind.

    Raises:
        UserError: If something is missing or wrong.
    """
    said = read_as(Mapping[str, Any], about, "about")
    for name, kind in kinds.items():
        if name not in said:
            raise UserError(f"about lacks {name!r}")
        read_as(kind, said[name], f"about.{name}")
    positive = {name: said[name] for name in ("drift", "threads") if name in kinds}
    if wrong := [name for name, value in positive.items() if not 0 < value < MOST_MS]:
        raise UserError(f"about.{wrong[0]} must be above 0, got {shown(said[wrong[0]])}")
    if "vector_unit" in kinds:
        check_unit(VectorUnit(**said["vector_unit"]))
    return said


def check_unit(unit: VectorUnit) -> None:
    if unit.lanes not in (4, 8, 16) or unit.registers not in (16, 32):
        raise UserError(f"about.vector_unit is none that code is cut to: {shown(unit)}")


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
        arrays = read_arrays(path)
        header = parse_json(arrays.pop(HEADER).tobytes().decode())
    except Exception as error:  # what is not whole may fail in any way
        raise UserError(
            f"{path} is no latency model ({one_line(error)}); remove it and run nas device "
            "profile again"
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is no latency model: its format must be {FORMAT!r}")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has version {shown(header.get('version'))}, this hwnas reads {VERSION}; fit "
            "it again with nas device profile"
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
        UserError: If a part is not what it must be.
        KeyError: If a part is missing, or the model is unknown.
    """
    kinds = read_as(tuple[str, ...], header["kinds"], "kinds")
    doubts = read_as(Mapping[str, float], header["doubts"], "doubts")
    if ANY not in doubts or min(doubts.values()) < 0:
        raise UserError(f"doubts must hold {ANY!r} and no negative number")
    roofline = read_roofline(header["roofline"])
    bounds = (len(kinds), 2, len(RANGED)) if kinds else arrays["sizes"].shape
    sizes = dict(zip(kinds, checked_array(arrays, "sizes", bounds), strict=True))
    match header["model"]:
        case "learned":
            return learned_of(header, arrays, roofline, doubts, sizes)
        case "lookup":
            known = known_of(header, arrays, kinds)
            return LookupModel(roofline, known, doubts, sizes)
        case "roofline":
            return RooflineModel(roofline, doubts, sizes)
    raise KeyError(shown(header["model"]))


def learned_of(
    header: Mapping[str, Any],
    arrays: Arrays,
    roofline: Roofline,
    doubts: Mapping[str, float],
    sizes: Mapping[str, Floats],
) -> LearnedModel:
    families = read_as(tuple[str, ...], header["families"], "families")
    prices = checked_array(arrays, "prices", (len(families), len(TERMS)), 0)
    folds = read_as(int, header["folds"], "folds")
    if ANY not in families or not 1 <= folds <= 100:
        raise UserError(f"families must hold {ANY!r} and folds be 1 to 100, got {shown(folds)}")
    trees = (Trees.of_arrays(arrays, f"trees{index}.", SEEN) for index in range(folds))
    by_family = dict(zip(families, prices, strict=True))
    return LearnedModel(roofline, by_family, tuple(trees), doubts, sizes)


def known_of(
    header: Mapping[str, Any], arrays: Arrays, kinds: tuple[str, ...]
) -> dict[str, tuple[Floats, Floats]]:
    lengths = read_as(tuple[int, ...], header["lengths"], "lengths")
    if len(lengths) != len(kinds) or min(lengths, default=1) < 1:
        raise UserError("lengths must be a number of kernels for each kind")
    sizes = checked_array(arrays, "known_sizes", (sum(lengths), len(RANGED)))
    slower = checked_array(arrays, "slower", (sum(lengths),), -100, 100)
    ends = np.cumsum(lengths)[:-1]
    known = zip(np.split(sizes, ends), np.split(slower, ends), strict=True)
    return dict(zip(kinds, known, strict=True))


def read_roofline(data: object) -> Roofline:
    roofline: Roofline = read_as(Roofline, data, "roofline")
    peaks = (*roofline.macs_per_ms.values(), roofline.bytes_per_ms, roofline.call_ms)
    if min(peaks) <= 0:
        raise UserError("a roofline's numbers must be above 0")
    return roofline
