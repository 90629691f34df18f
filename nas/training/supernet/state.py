"""Supernet state: trained shared weights, and what training needs to go on, as one file.

One safetensors file: the shared arrays by their keys, what the optimizer keeps of each, and what
they belong to. Every epoch follows from its number and the seed, so no random state is kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors.numpy import save

from nas.problem.records import SupernetConfig
from nas.problem.training_config import TrainingConfig
from nas.problem.validation import Strict, explain
from nas.training.state import DamagedStateError, check_arrays, digest_of, read_file, refuse
from search_spaces.graphs.errors import UserError
from search_spaces.space.extremes import Extremes
from search_spaces.space.store import SharedStore

FORMAT = "hwnas.supernet"
VERSION = "1"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
MOST_ABOUT = 1 << 22  # bytes of a file beside its arrays
Arrays = Mapping[str, NDArray[Any]]
Share = Annotated[float, Field(ge=0, le=1)]


class SupernetEpoch(Strict):
    """What is known after an epoch.

    Attributes:
        largest_loss, others_loss: Means over the steps.
        dropped: Steps that gave NaN or infinite numbers and moved nothing.
        largest_accuracy, smallest_accuracy: Of two slices, on the validation images.
    """

    largest_loss: float
    others_loss: float
    dropped: Annotated[int, Field(ge=0)]
    largest_accuracy: Share
    smallest_accuracy: Share


@dataclass(frozen=True, slots=True)
class Belongings:
    """What shared weights belong to, as fingerprints by what people call it."""

    space: str
    data: str
    recipe: str

    @staticmethod
    def of(
        store: SharedStore,
        extremes: Extremes,
        data: str,
        training: TrainingConfig,
        config: SupernetConfig,
    ) -> "Belongings":
        """Returns what weights of this store, data and recipe belong to."""
        shapes = {str(key): shape for key, shape in store.shapes.items()}
        ends = {**extremes.largest}, {**extremes.smallest}, extremes.blocks
        recipe = {
            **{name: getattr(config, name) for name in ("epochs", "batch_size", "learning_rate")},
            **{name: getattr(training, name) for name in ("label_smoothing", "weight_decay")},
            "class_weights": training.class_weights,
            "augmentation": repr(training.augmentation),
            "seed": training.seed,
        }
        return Belongings(hashed([shapes, ends]), data, hashed(recipe))

    @property
    def key(self) -> str:
        """Under which a training is kept while it goes on."""
        return hashed([self.space, self.data, self.recipe])[:16]


def hashed(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


class AboutSupernet(Strict):
    """What a file says beside its arrays."""

    space: str
    data: str
    recipe: str
    epochs: tuple[SupernetEpoch, ...]
    seconds: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, eq=False)
class SupernetState:
    """Shared weights after some epochs.

    Attributes:
        arrays: By the name of the key.
        moments: What the optimizer keeps, by its own names, then by that of the key, of arrays
            that were moved; empty once training is over.
        seconds: Trained so far.
    """

    arrays: Arrays
    moments: Mapping[str, Arrays]
    epochs: tuple[SupernetEpoch, ...]
    seconds: float


def to_bytes(state: SupernetState, belongs: Belongings) -> bytes:
    """Returns the file of a state."""
    about = AboutSupernet(
        space=belongs.space,
        data=belongs.data,
        recipe=belongs.recipe,
        epochs=state.epochs,
        seconds=state.seconds,
    ).model_dump_json()
    groups = {"arrays": state.arrays, **state.moments}
    arrays = {
        f"{group}:{name}": np.asarray(array, order="C")
        for group, of in groups.items()
        for name, array in of.items()
    }
    metadata = {"format": FORMAT, "version": VERSION, "about": about}
    return bytes(save(arrays, metadata | {"digest": digest_of(arrays, about)}))


def from_bytes(content: bytes, store: SharedStore, belongs: Belongings) -> SupernetState:
    """Returns the state that a file holds.

    Raises:
        DamagedStateError: If it is damaged, of another version, or of another space, data or
            recipe.
    """
    arrays, metadata = read_file(content)
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise DamagedStateError(
            f"a supernet must be of format {FORMAT!r} version {VERSION}, got "
            f"{str(metadata.get('format'))[:40]!r} version {str(metadata.get('version'))[:40]!r}"
        )
    text = metadata.get("about", "")
    refuse(metadata.get("digest") != digest_of(arrays, text), "its digest differs")
    try:
        about = AboutSupernet.model_validate_json(text)
    except ValidationError as error:
        raise DamagedStateError(
            f"a supernet is damaged: {explain(error, AboutSupernet)[0]}"
        ) from None
    for what in ("space", "data", "recipe"):
        here, wanted = getattr(about, what), getattr(belongs, what)
        if here != wanted:
            raise DamagedStateError(
                f"a supernet must be of the same {what}, got one of {here[:16]} for {wanted[:16]}"
            )
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for path, array in arrays.items():
        group, _, name = path.partition(":")
        groups.setdefault(group, {})[name] = array
    return checked(groups, about, store)


def checked(
    groups: dict[str, dict[str, NDArray[Any]]], about: AboutSupernet, store: SharedStore
) -> SupernetState:
    shapes = {str(key): shape for key, shape in store.shapes.items()}
    refuse(bool(other := groups.keys() - {"arrays", *MOMENTS}), f"nobody knows {sorted(other)}")
    check_arrays("arrays", groups.get("arrays", {}), shapes)
    moments = {kind: groups[kind] for kind in MOMENTS if kind in groups}
    moved = moments.get("step", {}).keys()
    refuse(bool(moved - shapes.keys()), "it has moments of arrays that it has not")
    for kind, arrays in moments.items():
        check_arrays(kind, arrays, {k: () if kind == "step" else shapes[k] for k in moved})
    return SupernetState(groups["arrays"], moments, about.epochs, about.seconds)


def most_bytes(store: SharedStore) -> int:
    """Returns what a file of these weights may have at most: arrays and two moments of each."""
    return 3 * store.num_bytes + 1024 * len(store.shapes) + MOST_ABOUT


def read_bounded(path: Path, store: SharedStore) -> bytes:
    """Returns the content of a file that may hold these weights.

    Raises:
        UserError: If it is larger than any that does.
    """
    size, most = path.stat().st_size, most_bytes(store)
    if size > most:
        raise UserError(
            f"{path} must hold at most {most} bytes for this space, got {size}; it is another "
            "file: remove it and go on with --resume, which trains the supernet anew"
        )
    return path.read_bytes()
