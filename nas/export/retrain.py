"""Retraining: one network of a run trained for longer, and scored on the test images.

A search trains for as few epochs as tell good from bad; what is shipped deserves more. The weights
are kept in the run folder, beside those of the search: ``retrained/HASH.safetensors`` and
``retrained/HASH.json``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from nas.data.images import concatenated
from nas.data.splits import Splits
from nas.data.tensors import TensorSplits, place, training_device
from nas.models.folder import fingerprint
from nas.models.given.setting import check_recorded, read_fitting
from nas.problem.search_problem import Setting, load_setting
from nas.problem.training_config import TrainingConfig
from nas.runs.files import arrays_bytes, write_json, write_whole
from nas.runs.folder import RunFolder
from nas.runs.provenance import machine, versions
from nas.runs.summary import check_same_data
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import confusion
from nas.training.checkpoints import FolderCheckpoints
from nas.training.kept_state import CHECKPOINT_EVERY_S, KeptState
from nas.training.loop import EpochReport, train
from nas.training.state import Recipe, data_fingerprint
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash

FORMAT = "hwnas.retrained"
VERSION = 1
LONGER = 5  # times the epochs of the search, where nothing else is asked for


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """A network trained in full.

    Attributes:
        validation_accuracy: None where the validation images were trained on.
        test_accuracy: Scored once, after the last epoch.
        weights_file: Where its weights are.
        validation_values, test_values: Every metric that training finds out on these images;
            none from an older file.
    """

    hash: str
    epochs: int
    with_validation: bool
    validation_accuracy: float | None
    test_accuracy: float
    seconds: float
    weights_file: Path
    test_values: Mapping[str, float] = field(default_factory=dict)
    validation_values: Mapping[str, float] = field(default_factory=dict)


ON_FILE = tuple(item.name for item in fields(RetrainResult) if item.name != "weights_file")


def retrain(
    results: RunResults,
    trial: TrialResult,
    epochs: int | None = None,
    *,
    teacher: Path | None = None,
    with_validation: bool = False,
    setting: Setting | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    say: Callable[[str], None] = lambda note: None,
    every_s: float = CHECKPOINT_EVERY_S,
) -> RetrainResult:
    """Trains the network of ``trial`` from scratch by the run's recipe, for longer.

    An earlier retraining of it is replaced, once this one has ended. One that was interrupted is
    taken up where it was, if the recipe is the same.

    Args:
        epochs: None takes five times those of the search.
        teacher: A model folder to learn from; None takes that of the run, if it has one.
        with_validation: Whether the validation images are trained on too; nothing is chosen by
            them any more.
        setting: The run's data, where it is loaded already.
        say: Told what of the recipe does not fit so few epochs, and where it goes on.
        every_s: Least seconds between two saves of where it is; 0 saves after every epoch.

    Raises:
        UserError: If the data differs from what the search saw, or training fails.
    """
    run, setting = results.run, setting or load_setting(results.config)
    check_same_data(run.data_file, setting.splits)
    recipe = results.config.training
    count = LONGER * recipe.epochs if epochs is None else epochs
    config = with_teacher(for_epochs(recipe, count), teacher)
    if config.warmup_epochs != recipe.warmup_epochs:
        say(
            f"warm-up shortened from {recipe.warmup_epochs:g} to {config.warmup_epochs:g} epochs, "
            f"its share of the recipe's {recipe.epochs}"
        )
    splits = joined(setting.splits) if with_validation else setting.splits
    tensors = place(splits, training_device(config.device))
    graph = run.load_architecture(trial.hash).graph
    taught_by = teacher_for(results, teacher, setting.splits)
    kept = kept_state(run, recipe_of(graph, config, tensors, taught_by), every_s)
    if (state := kept.load()) is not None:
        say(f"{trial.name} goes on after epoch {state.epochs}")
    trained = train(
        graph,
        tensors,
        config,
        teacher=taught_by,
        on_epoch=on_epoch,
        state=state,
        on_state=kept.saver(),
    )
    tested = confusion(trained.model, tensors.test)
    found = RetrainResult(
        hash=trial.hash,
        epochs=trained.epochs_run,
        with_validation=with_validation,
        validation_accuracy=None if with_validation else trained.accuracy,
        test_accuracy=tested.accuracy,
        seconds=trained.seconds,
        weights_file=retrained_file(run, trial.hash),
        test_values=tested.scores,
        validation_values={} if with_validation else trained.scores,
    )
    save(run, found, trained.model, config)
    kept.drop()
    return found


def teacher_for(results: RunResults, other: Path | None, splits: Splits) -> Model | None:
    """Returns the network that is learnt from: another one, else the run's, if it has one.

    Raises:
        UserError: If it cannot be read or does not fit the data, or the run's is not what it was.
    """
    if other is not None:
        return read_fitting(f"teacher {other}", other, splits).model
    own = results.config.training.teacher
    if own is None:
        return None
    path = Path(own)
    if not path.exists():
        raise UserError(f"teacher {path} is not there; say where it lies now with --teacher")
    model = read_fitting(f"teacher {path}", path, splits).model
    check_recorded(results.run, {"teacher": fingerprint(model)})
    return model


def for_epochs(recipe: TrainingConfig, epochs: int) -> TrainingConfig:
    """Returns the recipe for so many epochs; a warm-up that is longer keeps its share of them."""
    share = recipe.warmup_epochs / recipe.epochs
    warmup = recipe.warmup_epochs if recipe.warmup_epochs <= epochs else share * epochs
    return replace(recipe, epochs=epochs, warmup_epochs=warmup)


def with_teacher(recipe: TrainingConfig, other: Path | None) -> TrainingConfig:
    """Returns the recipe with another teacher, where one is given."""
    return recipe if other is None else replace(recipe, teacher=str(other))


def joined(splits: Splits) -> Splits:
    """Returns splits that train on the validation images too.

    The normalisation stays that of the train split, so that inputs are what they were.
    """
    train, validation = splits.train, splits.validation
    both = concatenated(f"{train.name} and validation", train, validation)
    return replace(splits, train=both)


def retrained_file(run: RunFolder, key: str) -> Path:
    """Returns where the retrained weights of the graph with this hash are, or would be."""
    return run.path / "retrained" / f"{key}.safetensors"


def kept_state(run: RunFolder, recipe: Recipe, every_s: float) -> KeptState:
    """Returns where the state of a retraining is kept while it goes on."""
    folder = retrained_file(run, graph_hash(recipe.graph)).parent / "checkpoints"
    return KeptState(FolderCheckpoints(folder), recipe, every_s)


def recipe_of(
    graph: Graph, config: TrainingConfig, data: TensorSplits, teacher: Model | None
) -> Recipe:
    taught = None if teacher is None else fingerprint(teacher)
    return Recipe(graph, config, data_fingerprint(data), data.train.device.type, taught)


def save(run: RunFolder, found: RetrainResult, model: Model, config: TrainingConfig) -> None:
    """Writes the weights, then what is known of them."""
    write_whole(found.weights_file, arrays_bytes(model.arrays))
    write_json(
        found.weights_file.with_suffix(".json"),
        {
            "format": FORMAT,
            "version": VERSION,
            **{name: getattr(found, name) for name in ON_FILE},
            "training": asdict(config),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
        },
    )


def load_retrained(run: RunFolder, key: str) -> tuple[Model, RetrainResult]:
    """Returns the retrained model of the graph with this hash, and what is known of it.

    Raises:
        UserError: If it was not retrained, or its files are damaged.
    """
    path = retrained_file(run, key)
    try:
        # Older files tell the accuracy alone.
        older: dict[str, Any] = {"test_values": {}, "validation_values": {}}
        data = older | json.loads(path.with_suffix(".json").read_text("utf-8"))
        model = Model(run.load_architecture(key).graph, load_file(path))
        known = {name: data[name] for name in ON_FILE}
    except FileNotFoundError:
        raise UserError(
            f"architecture {key} has no retrained weights in {path.parent}; run nas retrain first"
        ) from None
    except Exception as error:  # safetensors raises its own type for a damaged file
        raise UserError(f"{path} is damaged ({error}); run nas retrain again") from None
    return model, RetrainResult(**known, weights_file=path)
