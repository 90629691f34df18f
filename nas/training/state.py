"""Training state: all that a training needs to go on bit for bit, and the file that holds it.

The file is one safetensors file. Its metadata say which network, recipe and images it belongs to,
and a digest over everything tells a damaged one. Reading it runs nothing and trusts nothing.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors.numpy import load, save

from nas.data.tensors import TensorSplits
from nas.nn.layers import STATISTICS
from nas.problem.training_config import OptimizerName, TrainingConfig
from nas.problem.validation import Strict, explain
from nas.training.recipe.optimizer import num_matrices
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array
from search_spaces.quantization.codes import is_coded
from search_spaces.quantization.reprecision import full_precision
from search_spaces.space.architecture import graph_hash

FORMAT = "hwnas.training_state"
VERSION = "1"
# What each optimizer keeps of a parameter, by torch's names.
MOMENTS: dict[OptimizerName, tuple[str, ...]] = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
    "muon": ("momentum_buffer", "step", "exp_avg", "exp_avg_sq"),
}

# Settings that older hwnas had not; at their defaults they train as it did.
YOUNGER = {
    *("class_weights", "crop", "policy", "policy_ops", "policy_magnitude"),
    *("erasing", "mixup", "cutmix", "norm_l1", "hold"),
    *("whitening", "fall"),
}

NOT_TOLD = ("teacher", "recipe")

TrainingPhase = Literal["float32", "main"]
RandomDevice = Literal["cpu", "cuda"]
RandomState = NDArray[np.uint8]
Moments = Mapping[str, Mapping[str, Array]]
Arrays = dict[str, NDArray[Any]]


class DamagedStateError(UserError):
    """The state of a training that is damaged, or that belongs to another training."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """A training between two epochs.

    Attributes:
        phase: "float32" before the epochs of a low-bit network, else "main".
        arrays: Parameters and statistics of the network in training, by the graph's names.
        moments: What the optimizer keeps, by its own names, then by the parameter's.
        loss_scale: With float16 the scale, and the steps since it last changed; else None.
        order_random: State of what orders and augments images.
        torch_random: States of torch's own randomness, which dropout draws from, by device.
        train_loss: Mean of each epoch of the phase.
        validation_accuracy: After each epoch of the phase, in 0..1.
        seconds: Trained so far, in all.
        began_s: Those of them before the first epoch of the phase.
        teacher: Weights of the network trained in float32, where it teaches from now on.
    """

    phase: TrainingPhase
    arrays: Mapping[str, Array]
    moments: Moments
    loss_scale: tuple[float, int] | None
    order_random: RandomState
    torch_random: Mapping[RandomDevice, RandomState]
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    seconds: float
    began_s: float
    teacher: Mapping[str, Array] | None

    @property
    def epochs(self) -> int:
        """Epochs done in the phase."""
        return len(self.train_loss)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a state belongs to.

    Attributes:
        data: Fingerprint of the images, as `data_fingerprint` gives it.
        device: Type of the device: others draw other random numbers.
        teacher: Fingerprint of the network that is learnt from, if one was given.
    """

    graph: Graph
    config: TrainingConfig
    data: str
    device: str
    teacher: str | None = None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of how the network is trained, and where."""
        given = [] if self.teacher is None else [self.teacher]
        text = json.dumps([told(self.config), self.device, *given], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def has_float32_phase(self) -> bool:
        return self.config.fp32_epochs > 0 and any(map(is_coded, self.graph.nodes))


def told(record: Any) -> dict[str, Any]:  # noqa: ANN401  (any dataclass)
    """Returns the settings of a recipe, the younger ones where they are not the default.

    Where a teacher lies is left out: which it is counts; and a recipe's name: its settings do.
    """
    values = {
        item: getattr(record, item.name) for item in fields(record) if item.name not in NOT_TOLD
    }
    return {
        item.name: told(value) if is_dataclass(value) else value
        for item, value in values.items()
        if item.name not in YOUNGER or value != item.default
    }


def data_fingerprint(data: TensorSplits) -> str:
    """Returns the SHA-256 over the images that are trained and validated on, and their labels."""
    digest = hashlib.sha256()
    for part in (data.train, data.validation):
        shape = [len(part), *part.image_shape]
        digest.update(json.dumps([shape, part.num_classes]).encode())
        for start in range(0, len(part), IMAGES_AT_ONCE):
            images = part.images(slice(start, start + IMAGES_AT_ONCE))
            digest.update(images.cpu().numpy().data)
        for tensor in (part.labels, part.shift, part.factor):
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


IMAGES_AT_ONCE = 1024
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class About(Strict):
    """What a file says beside its arrays."""

    graph: str
    recipe: str
    data: str
    phase: TrainingPhase
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[Share, ...]
    seconds: Seconds
    began_s: Seconds
    loss_scale: tuple[Annotated[float, Field(gt=0)], Count] | None


def to_bytes(state: TrainingState, recipe: Recipe) -> bytes:
    """Returns the file of a state."""
    about = About(
        graph=graph_hash(recipe.graph),
        recipe=recipe.fingerprint,
        data=recipe.data,
        phase=state.phase,
        train_loss=state.train_loss,
        validation_accuracy=state.validation_accuracy,
        seconds=state.seconds,
        began_s=state.began_s,
        loss_scale=state.loss_scale,
    ).model_dump_json()
    arrays = dict(named_arrays(state))
    metadata = {"format": FORMAT, "version": VERSION, "about": about}
    return save(arrays, metadata | {"digest": digest_of(arrays, about)})


def named_arrays(state: TrainingState) -> Iterator[tuple[str, NDArray[Any]]]:
    groups: dict[str, Mapping[Any, NDArray[Any]]] = {
        "arrays": state.arrays,
        "teacher": state.teacher or {},
        "random": {"order": state.order_random, **state.torch_random},
        **state.moments,
    }
    for group, arrays in groups.items():
        for name, array in arrays.items():
            yield f"{group}.{name}", np.asarray(array, order="C")


def digest_of(arrays: Arrays, about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def from_bytes(content: bytes, recipe: Recipe) -> TrainingState:
    """Returns the state that a file holds.

    Raises:
        DamagedStateError: If it is damaged, of another version, or of another network, recipe,
            data or kind of device.
    """
    arrays, metadata = read_file(content)
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise DamagedStateError(
            f"a training's state must be of format {FORMAT!r} version {VERSION}, got "
            f"{metadata.get('format')!r} version {metadata.get('version')!r}"
        )
    text = metadata.get("about", "")
    refuse(metadata.get("digest") != digest_of(arrays, text), "its digest differs")
    try:
        about = About.model_validate_json(text)
    except ValidationError as error:
        raise DamagedStateError(
            f"a training's state is damaged: {explain(error, About)[0]}"
        ) from None
    check_belongs(about, recipe)
    return to_state(about, grouped(arrays), recipe)


def read_file(content: bytes) -> tuple[Arrays, dict[str, str]]:
    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except Exception as error:  # safetensors and numpy raise several types for a damaged file
        raise DamagedStateError(
            f"a training's state is no whole file: {one_line(error)}"
        ) from None
    return arrays, metadata


def check_belongs(about: About, recipe: Recipe) -> None:
    for what, here, wanted in (
        ("network", about.graph, graph_hash(recipe.graph)),
        ("recipe or kind of device", about.recipe, recipe.fingerprint),
        ("data", about.data, recipe.data),
    ):
        if here != wanted:
            raise DamagedStateError(
                f"a training's state must be of the same {what}, got one of {here[:16]} for "
                f"{wanted[:16]}"
            )


def grouped(arrays: Arrays) -> dict[str, Arrays]:
    groups: dict[str, Arrays] = {}
    for path, array in arrays.items():
        group, _, name = path.partition(".")
        groups.setdefault(group, {})[name] = array
    return groups


def to_state(about: About, groups: dict[str, Arrays], recipe: Recipe) -> TrainingState:
    """Returns the state, every array of which is looked at."""
    config, in_float32 = recipe.config, about.phase == "float32"
    twin = full_precision(recipe.graph)
    shapes = (twin if in_float32 else recipe.graph).array_shapes()
    epochs = len(about.train_loss)
    refuse(len(about.validation_accuracy) != epochs, "it has more losses than accuracies, or less")
    refuse(in_float32 and not recipe.has_float32_phase, "this training has no float32 phase")
    most = config.fp32_epochs - 1 if in_float32 else config.epochs
    refuse(epochs > most, f"it has done {epochs} of {most} epochs")
    refuse(about.began_s > about.seconds, "it began after it ended")
    known = {"arrays", "teacher", "random", *MOMENTS[config.optimizer]}
    refuse(bool(other := groups.keys() - known), f"nobody knows its arrays {sorted(other)}")
    check_arrays("arrays", groups.get("arrays", {}), shapes)
    teacher = groups.get("teacher")
    if teacher is not None:
        check_arrays("teacher", teacher, twin.array_shapes())
    random = groups.get("random", {})
    wanted = {"order", *get_args(RandomDevice)[: 2 if recipe.device == "cuda" else 1]}
    refuse(random.keys() != wanted, f"it has random states {sorted(random)}")
    for name, array in random.items():
        refuse(array.dtype != np.uint8 or array.ndim != 1, f"its random state {name} is none")
    moments = {kind: groups.get(kind, {}) for kind in MOMENTS[config.optimizer]}
    check_moments(moments, shapes, twin if in_float32 else recipe.graph, config, epochs)
    return TrainingState(
        phase=about.phase,
        arrays=groups["arrays"],
        moments=moments,
        loss_scale=about.loss_scale,
        order_random=random["order"],
        torch_random={name: random[name] for name in get_args(RandomDevice) if name in random},
        train_loss=about.train_loss,
        validation_accuracy=about.validation_accuracy,
        seconds=about.seconds,
        began_s=about.began_s,
        teacher=teacher,
    )


def check_moments(
    moments: Mapping[str, Arrays],
    shapes: Mapping[str, tuple[int, ...]],
    graph: Graph,
    config: TrainingConfig,
    epochs: int,
) -> None:
    keeps_none = epochs == 0 or (config.optimizer == "sgd" and config.momentum == 0)
    parameters = {
        name: shape
        for name, shape in shapes.items()
        if name.rpartition(".")[2] not in STATISTICS and not keeps_none
    }
    with_buffer = {
        name: shape
        for name, shape in parameters.items()
        if config.optimizer == "sgd" or num_matrices(graph, name, shape, config)
    }
    others = {name: shape for name, shape in parameters.items() if name not in with_buffer}
    wanted: dict[str, Mapping[str, tuple[int, ...]]]
    wanted = {"momentum_buffer": with_buffer, "step": dict.fromkeys(others, ())}
    for kind, arrays in moments.items():
        check_arrays(kind, arrays, wanted.get(kind, others))


def check_arrays(group: str, arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted(shapes.keys() ^ arrays.keys()):
        refuse(True, f"{group}.{name} is {'missing' if name in shapes else 'unknown'}")
    for name, shape in shapes.items():
        array = arrays[name]
        refuse(
            array.shape != shape or array.dtype != np.float32,
            f"{group}.{name} must be float32 of shape {shape}, got {array.dtype} {array.shape}",
        )


def refuse(is_wrong: bool, why: str) -> None:
    if is_wrong:
        raise DamagedStateError(f"a training's state is damaged: {why}")
