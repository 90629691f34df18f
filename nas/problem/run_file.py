"""Run file: a run's configuration as YAML, checked as a whole before anything starts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nas.data.sources.registry import SOURCES, make_source
from nas.data.splits import Normalization
from nas.problem import yaml_text
from nas.problem.addresses import NOT_REPEATED, is_suspect, told
from nas.problem.metrics import get_metric, parse_constraint
from nas.problem.records import BaselineConfig, DataConfig, LatencyConfig, RunConfig, SearchConfig
from nas.problem.space_file import SpaceFile, staged_space
from nas.problem.training_config import RecipeName, TrainingConfig, with_recipe
from nas.problem.validation import (
    Listed,
    Strict,
    distinct,
    explain,
    known,
    listed,
    strict_record,
    to_record,
)
from search_spaces.graphs.errors import MistakesError, UserError

NormalizationFile: Any = strict_record(Normalization)


class DataFile(Strict):
    """The kind and splits are ours; other keys are the source's own settings."""

    model_config = ConfigDict(extra="allow")

    kind: str = "digits"
    validation: float | int = 0.2
    test: float | int = 0.2
    train: float | int | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    normalization: NormalizationFile | None = None

    @model_validator(mode="after")
    def check_source(self) -> Self:
        self.settings()
        return self

    def settings(self) -> dict[str, Any]:
        """Returns what is said beyond our own keys, as the source's fields."""
        given = dict(self.model_extra or {})
        if type(given.get("resolution")) is int:  # one number stands for both sides
            given["resolution"] = (given["resolution"], given["resolution"])
        make_source(self.kind, **given)  # knows the names of its settings
        model = strict_record(SOURCES[self.kind])
        try:
            return dict(model(**given))
        except ValidationError as error:
            raise UserError("; ".join(explain(error, model))) from None

    def config(self) -> DataConfig:
        given = self.normalization
        return DataConfig(
            self.kind,
            self.settings(),
            self.validation,
            self.test,
            self.train,
            self.seed,
            None if given is None else to_record(Normalization, given),
        )


def data_of(given: dict[str, Any], settings: Sequence[str] = ()) -> DataConfig:
    """Returns data that are given outside a run file, with ``key=value`` settings of theirs.

    Raises:
        UserError: With every mistake on a line of its own.
    """
    held = {"data": given}
    for text in settings:
        override(held, f"data.{text}")
    try:
        return DataFile.model_validate(held["data"]).config()
    except ValidationError as error:
        raise MistakesError(*explain(error, DataFile)) from None


def read_data(path: Path) -> DataConfig:
    """Returns the data of a run, or of a YAML file that has a section ``data``, as run files do.

    Raises:
        UserError: If there is none; with every mistake in it on a line of its own.
    """
    file = path / "config.yaml" if path.is_dir() else path
    given = read_yaml(file).get("data")
    if not isinstance(given, dict):
        raise UserError(f"{file} must have a section 'data' with keys, as a run file has")
    try:
        return DataFile.model_validate(given).config()
    except ValidationError as error:
        lines = (f"{file}: data.{line}" for line in explain(error, DataFile))
        raise MistakesError(*lines) from None


TrainingFile: Any = strict_record(TrainingConfig)


class SearchTrainingFile(TrainingFile):  # type: ignore[misc]  # made at run time
    """How the networks of a search are trained: by the fast recipe, where none is named."""

    @model_validator(mode="before")
    @classmethod
    def take_recipe(cls, given: object) -> object:
        return with_recipe(given, "fast") if isinstance(given, dict) else given


LatencyFile: Any = strict_record(LatencyConfig)
SearchFile: Any = strict_record(SearchConfig)
BaselineFile: Any = strict_record(BaselineConfig)


MetricName = Annotated[str, known(get_metric)]
TWO_OR_MORE = Field(min_length=2, max_length=20)


def folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise UserError(
            "a name must be 1 to 100 letters, digits, '_', '-' or '.', starting with none of the "
            f"last two, got {told(name)}"
        )
    return name


def networks(value: object) -> object:
    """A network's name stands for it at its usual size, a path for the model that lies there."""
    return [baseline_keys(v) if isinstance(v, str) else v for v in listed(value)]  # type: ignore[attr-defined]


def baseline_keys(text: str) -> dict[str, str]:
    """
    >>> baseline_keys("resnet18"), baseline_keys("models/vgg"), baseline_keys("vgg.hwz")
    ({'network': 'resnet18'}, {'model': 'models/vgg'}, {'model': 'vgg.hwz'})
    """
    return {"model" if "/" in text or text.endswith(".hwz") else "network": text}


class RunFile(Strict):
    """A run file: everything that a search is told, with defaults where it says nothing."""

    name: Annotated[str, AfterValidator(folder_name)]
    data: DataFile = DataFile()
    space: SpaceFile
    training: SearchTrainingFile = SearchTrainingFile()
    objectives: Annotated[Listed[MetricName], TWO_OR_MORE, AfterValidator(distinct)] = (
        "accuracy",
        "latency_ms",
    )
    constraints: Listed[Annotated[str, known(parse_constraint)]] = ()
    latency: LatencyFile = LatencyFile()
    search: SearchFile = SearchFile()
    baselines: Annotated[tuple[BaselineFile, ...], BeforeValidator(networks)] = ()
    reference: Annotated[dict[MetricName, float], Field(default_factory=dict)]

    @model_validator(mode="after")
    def check_reference(self) -> Self:
        if unused := [name for name in self.reference if name not in self.objectives]:
            raise UserError(
                f"reference is for objectives, got {unused[0]!r}; the objectives are "
                f"{', '.join(self.objectives)}"
            )
        return self

    @model_validator(mode="after")
    def check_hold(self) -> Self:
        if self.training.hold != "none":
            raise UserError(
                "training.hold is of weights that are given, and a search draws its own: it must "
                f"be none, got {self.training.hold}; leave it out, and hold them in nas compress"
            )
        return self

    @model_validator(mode="after")
    def check_teachers(self) -> Self:
        if self.search.evaluation == "supernet" and self.training.teacher is not None:
            raise UserError(
                "search.evaluation: supernet has networks learn from the largest of them, and "
                f"training.teacher must be none, got {told(self.training.teacher)}; leave it out, "
                "and give it to nas retrain --teacher"
            )
        return self

    @model_validator(mode="after")
    def check_grace(self) -> Self:
        stopping, epochs = self.search.early_stopping, self.training.epochs
        if stopping is not None and stopping.grace_epochs >= epochs:
            raise UserError(
                "search.early_stopping.grace_epochs must be below training.epochs "
                f"(= {epochs}), got {stopping.grace_epochs}; lower it, train for longer, or set "
                "search.early_stopping to null"
            )
        return self

    def config(self, *, is_tried: bool = False) -> RunConfig:
        """Returns the configuration as records.

        Args:
            is_tried: Leave out trying every block in every place, which takes longer than all
                else: for a run that is there, whose search has tried them.

        Raises:
            UserError: If a block does not fit where the space may put it.
        """
        return RunConfig(
            name=self.name,
            data=self.data.config(),
            space=staged_space(self.name, self.space, is_tried=is_tried),
            training=to_record(TrainingConfig, self.training),
            objectives=tuple(get_metric(name) for name in self.objectives),
            constraints=tuple(parse_constraint(text) for text in self.constraints),
            latency=to_record(LatencyConfig, self.latency),
            search=to_record(SearchConfig, self.search),
            baselines=tuple(to_record(BaselineConfig, item) for item in self.baselines),
            reference=self.reference,
        )


def read_run_file(
    path: Path, overrides: Sequence[str] = (), *, recipe: RecipeName = "fast"
) -> RunFile:
    """Reads a run file and applies ``key.path=value`` overrides.

    A space given as a path is read relative to the run file.

    Args:
        recipe: How networks are trained where the file names no recipe.

    Raises:
        UserError: With every mistake on a line of its own.
    """
    data = read_yaml(path)
    read_space(data, path.parent)  # so that a key of it can be overridden
    for text in overrides:
        override(data, text)
    read_space(data, path.parent)
    training = data.setdefault("training", {})
    if isinstance(training, dict):
        training.setdefault("recipe", recipe)
    try:
        return RunFile.model_validate(data)
    except ValidationError as error:
        raise MistakesError(*(f"{path}: {line}" for line in explain(error, RunFile))) from None


def read_kept_file(path: Path) -> RunFile:
    """Reads the file that a run has kept; one that names no recipe is older than recipes.

    Raises: as `read_run_file`.
    """
    return read_run_file(path, recipe="plain")


def read_space(data: dict[str, Any], folder: Path) -> None:
    """Puts a space in the place of the path to it."""
    if isinstance(data.get("space"), str):
        data["space"] = read_yaml(folder / data["space"])


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            data = yaml_text.load(file.read(yaml_text.MOST_CHARACTERS + 1))
    except OSError as error:
        named = NOT_REPEATED if is_suspect(str(path)) else path
        raise UserError(f"cannot read {named}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it as such") from None
    except ValueError:  # of the path itself
        raise UserError(f"{told(str(path))} is the name of no file") from None
    except yaml_text.YAMLError as error:
        raise UserError(f"{path} is not YAML: {yaml_text.reason_of(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold keys and values, got {type(data).__name__}")
    return data


def override(data: dict[str, Any], text: str) -> None:
    """Sets one key, given as ``search.trials=20``; the value is read as YAML."""
    key, found, value = text.partition("=")
    if not found or not re.fullmatch(r"[\w.-]+", key):
        raise UserError(f"--set {told(text)} must read key=value, e.g. --set search.trials=20")
    *path, last = key.split(".")
    place: Any = data
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise UserError(
                f"--set {told(text)}: {part!r} holds a value, not keys; set it as a whole"
            )
    try:
        place[last] = yaml_text.load(value)
    except yaml_text.YAMLError as error:
        reason = yaml_text.reason_of(error)
        raise UserError(f"--set {told(text)} is not YAML: {reason}") from None


def to_yaml(file: RunFile) -> str:
    """Returns the run file as YAML with every default written out."""
    return yaml_text.dump(file.model_dump(mode="json"))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> list[str]:
    """Returns ``key: old -> new`` for every value that differs."""
    lines = []
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{at}{key}.")
        elif before != after:
            lines.append(f"{at}{key}: {told(before)} -> {told(after)}")
    return lines
