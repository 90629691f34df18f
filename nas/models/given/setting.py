"""Setting: what a run works on, with the trained networks that it names, teacher and baselines.

A baseline that is given keeps its weights: it is scored on the validation images as it is, and not
trained. Which networks they were is kept in the run (``models.json``) by their fingerprints, so
that a run does not go on with others, and may find them in another place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from nas.data.splits import Splits
from nas.models.examples import check_fits
from nas.models.folder import StoredModel, fingerprint
from nas.models.given.reading import read_model
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting, load_setting
from nas.runs.files import read_json, write_json
from nas.runs.folder import RunFolder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

RECORD = {"models": Mapping[str, str]}
REMEDY = "restore it from a copy, or search anew"


def load_whole_setting(config: RunConfig) -> Setting:
    """Loads the data, fits the space to it, and reads the trained networks that are named.

    Raises:
        UserError: As `load_setting`, and if a model cannot be read or does not fit the data.
    """
    setting = load_setting(config)
    given = given_baselines(config, setting.splits)
    networks = {name: Architecture(name, (), each.model.graph) for name, each in given.items()}
    models = (each.model for each in given.values())
    setting = replace(
        setting,
        baselines={**setting.baselines, **networks},
        trained={graph_hash(model.graph): model for model in models},
    )
    path = config.training.teacher
    return setting if path is None else replace(setting, teacher=teacher_of(Path(path), setting))


def given_baselines(config: RunConfig, splits: Splits) -> dict[str, StoredModel]:
    """Returns the baselines that are trained, by name.

    Raises:
        UserError: If one does not fit the data, or two have one name.
    """
    found: dict[str, StoredModel] = {}
    for path in (item.model for item in config.baselines if item.model is not None):
        stored = read_fitting(f"baseline {path}", Path(path), splits)
        name = f"{stored.name} as trained"
        if name in found:
            raise UserError(
                f"baseline {path}: names of baselines must differ, got {stored.name!r} twice; "
                "leave one out, or write it under another name"
            )
        found[name] = stored
    return found


def teacher_of(path: Path, setting: Setting) -> Model:
    """Returns the network at a path, to learn from in all that is trained in a setting.

    Raises:
        UserError: If it has other classes or another input than one of them, or sees images that
            are normalised otherwise.
    """
    teacher = read_fitting(f"teacher {path}", path, setting.splits).model
    channels = setting.space.in_channels
    shapes = {f"the space: {side}": (channels, side, side) for side in setting.space.resolutions}
    shapes |= {
        f"baseline {name}": architecture.graph.input_shape
        for name, architecture in setting.baselines.items()
        if graph_hash(architecture.graph) not in setting.trained
    }
    ours = teacher.graph.input_shape
    for what, shape in shapes.items():
        if shape != ours:
            raise UserError(
                f"teacher {path} takes inputs of {in_words(ours)}, {what} has {in_words(shape)}; "
                "what learns from it must take the same: give one resolution, or another teacher"
            )
    return teacher


def check_taught(teacher: Model | None, graphs: Iterable[Graph]) -> None:
    """Raises UserError if a network that is enqueued takes another input than its teacher."""
    for graph in graphs:
        if teacher is not None and graph.input_shape != teacher.graph.input_shape:
            raise UserError(
                f"cannot enqueue architecture {graph_hash(graph)}: it takes inputs of "
                f"{in_words(graph.input_shape)}, training.teacher those of "
                f"{in_words(teacher.graph.input_shape)}"
            )


def read_fitting(what: str, path: Path, splits: Splits) -> StoredModel:
    """Returns the network at a path, which must fit the data.

    Args:
        what: It is, for messages.
    """
    try:
        stored = read_model(path)
        check_fits(stored, splits)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    return stored


def in_words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def given_models(setting: Setting) -> dict[str, str]:
    """Returns the fingerprints of what a run was given, by what it is to the run."""
    found = {f"baseline {key}": fingerprint(model) for key, model in setting.trained.items()}
    if setting.teacher is not None:
        found["teacher"] = fingerprint(setting.teacher)
    return found


def check_same_models(run: RunFolder, setting: Setting) -> None:
    """Compares the models of a setting with those that a run has begun with.

    Raises:
        UserError: If they are others.
    """
    now = given_models(setting)
    check_recorded(run, dict.fromkeys(recorded(run)) | now)


def check_recorded(run: RunFolder, models: Mapping[str, str | None]) -> None:
    """Compares some models, by fingerprint, with those that a run has begun with.

    Raises:
        UserError: If one is another.
    """
    before = recorded(run)
    changed = sorted(key for key, found in models.items() if before.get(key) != found)
    if changed:
        raise UserError(
            f"{run.path} was searched with another {changed[0]} (its fingerprint in "
            f"{run.models_file}); restore that one, or start anew with --set name=NAME"
        )


def note_models(run: RunFolder, setting: Setting) -> None:
    """Keeps in the run what it was given, if anything."""
    if models := given_models(setting):
        write_json(run.models_file, {"models": models})


def recorded(run: RunFolder) -> Mapping[str, str]:
    try:
        found: Mapping[str, str] = read_json(run.models_file, REMEDY, RECORD).get("models", {})
    except FileNotFoundError:
        return {}
    return found
