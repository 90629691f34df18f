"""Run file: a run's configuration as YAML, checked as a whole before anything starts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from nas import yaml_text
from nas.config import (
    BaselineConfig,
    DataConfig,
    LatencyConfig,
    RunConfig,
    SearchConfig,
)
from nas.data.sources import SOURCES, make_source
from nas.metrics import get_metric, parse_constraint
from nas.training_config import TrainingConfig
from search_spaces.blocks.registry import get_block
from search_spaces.choice import Value
from search_spaces.errors import UserError
from search_spaces.operators import Activation
from search_spaces.precision import get_precision
from search_spaces.staged import (
    Head,
    Stage,
    StagedSpace,
    Stem,
    block_option,
    check_space,
)

T = TypeVar("T")
R = TypeVar("R")


def listed(value: object) -> object:
    """One value stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise UserError(f"values must differ, got {repeated[0]!r} twice")
    return values


def known(get: Callable[[str], object]) -> AfterValidator:
    """A name that ``get`` knows."""

    def check(name: str) -> str:
        get(name)
        return name

    return AfterValidator(check)


def checked(record: Callable[..., object]) -> Any:  # noqa: ANN401  (a decorated function)
    """A validator that makes the record, which refuses values out of range."""

    def check(model: BaseModel) -> BaseModel:
        to_record(record, model)
        return model

    return model_validator(mode="after")(check)


Listed = Annotated[tuple[T, ...], BeforeValidator(listed)]
Many = Annotated[Listed[T], Field(min_length=1), AfterValidator(distinct)]
Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Refuses unknown keys, numbers that are not finite, and true or false for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def refuse_truth(cls, value: object, info: ValidationInfo) -> object:
        wanted = cls.model_fields[str(info.field_name)].annotation
        values = value if isinstance(value, list) else [value]
        if wanted is not bool and any(isinstance(item, bool) for item in values):
            raise UserError(f"must not be true or false, got {value}")
        return value


def one_mapping(value: object) -> object:
    """Returns blocks, given as names and as mappings, as one mapping of name to settings."""
    blocks: dict[object, object] = {}
    for item in [value] if isinstance(value, str | dict) else listed(value):  # type: ignore[attr-defined]
        for name, settings in item.items() if isinstance(item, dict) else [(item, None)]:
            if not isinstance(name, str):
                raise UserError(f"a block must be a name, or a name with settings, got {name!r}")
            if name in blocks:
                raise UserError(f"blocks must differ, got {name!r} twice")
            blocks[name] = {} if settings is None else settings
    return blocks


BlockName = Annotated[str, known(get_block)]
Blocks = Annotated[dict[BlockName, dict[str, Many[Value]]], Field(min_length=1)]


class StemFile(Strict):
    width: Many[Positive] = (16,)
    kernel_size: Many[Positive] = (3,)
    stride: Many[Positive] = (1,)


class StageFile(Strict):
    depth: Many[Positive]
    width: Many[Positive]
    stride: Many[Positive] = (1,)
    blocks: Annotated[Blocks, BeforeValidator(one_mapping)]
    prune_ratio: Many[Annotated[float, Field(ge=0, lt=1)]] = (0.0,)
    precision: Many[Annotated[str, known(get_precision)]] = ("fp32",)


class HeadFile(Strict):
    width: Many[Annotated[int, Field(ge=0)]] = (0,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SpaceFile(Strict):
    resolution: Many[Positive]
    stages: Annotated[list[StageFile], Field(min_length=1)]
    stem: StemFile = StemFile()
    head: HeadFile = HeadFile()
    activation: Many[Activation] = ("relu",)
    round_to: Positive = 8


def strict_record(record: Any) -> type[BaseModel]:  # noqa: ANN401  (any dataclass)
    """Returns the model of a record, so that its fields are written down once."""
    rows: dict[str, Any] = {}
    for item in fields(record):
        if is_dataclass(item.type):
            nested = strict_record(item.type)
            rows[item.name] = (nested, nested())
        else:
            rows[item.name] = (item.type, ... if item.default is MISSING else item.default)
    return create_model(
        f"{record.__name__}File",
        __base__=Strict,
        __validators__={"check_record": checked(record)},
        **rows,
    )


def to_record(record: Callable[..., R], model: BaseModel) -> R:
    """Returns the record that a model of ``strict_record`` holds.

    Raises:
        UserError: If the record refuses a value.
    """
    kinds = {item.name: item.type for item in fields(record)}  # type: ignore[arg-type]
    values = {
        name: to_record(kinds[name], value) if isinstance(value, BaseModel) else value  # type: ignore[arg-type]
        for name, value in dict(model).items()
    }
    return record(**values)


class DataFile(Strict):
    """The kind and splits are ours; other keys are the source's own settings."""

    model_config = ConfigDict(extra="allow")

    kind: str = "digits"
    validation: float | int = 0.2
    test: float | int = 0.2
    train: float | int | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def check_source(self) -> Self:
        self.settings()
        return self

    def settings(self) -> dict[str, Any]:
        """Returns what is said beyond our own keys, as the source's fields."""
        given = dict(self.model_extra or {})
        make_source(self.kind, **given)  # knows the names of its settings
        try:
            return dict(strict_record(SOURCES[self.kind])(**given))
        except ValidationError as error:
            raise UserError("; ".join(explain(error))) from None

    def config(self) -> DataConfig:
        return DataConfig(
            self.kind, self.settings(), self.validation, self.test, self.train, self.seed
        )


TrainingFile: Any = strict_record(TrainingConfig)
LatencyFile: Any = strict_record(LatencyConfig)
SearchFile: Any = strict_record(SearchConfig)
BaselineFile: Any = strict_record(BaselineConfig)


MetricName = Annotated[str, known(get_metric)]


def folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise UserError(
            "a name must be 1 to 100 letters, digits, '_', '-' or '.', starting with none of the "
            f"last two, got {name!r}"
        )
    return name


def networks(value: object) -> object:
    """A network's name stands for the network at its usual size."""
    return [{"network": v} if isinstance(v, str) else v for v in listed(value)]  # type: ignore[attr-defined]


class RunFile(Strict):
    name: Annotated[str, AfterValidator(folder_name)]
    data: DataFile = DataFile()
    space: SpaceFile
    training: TrainingFile = TrainingFile()
    objectives: Annotated[Listed[MetricName], Field(min_length=2), AfterValidator(distinct)] = (
        "accuracy",
        "latency_ms",
    )
    constraints: Listed[Annotated[str, known(parse_constraint)]] = ()
    latency: LatencyFile = LatencyFile()
    search: SearchFile = SearchFile()
    baselines: Annotated[tuple[BaselineFile, ...], BeforeValidator(networks)] = ()
    reference: dict[MetricName, float] = {}

    @model_validator(mode="after")
    def check_reference(self) -> Self:
        if unused := [name for name in self.reference if name not in self.objectives]:
            raise UserError(
                f"reference is for objectives, got {unused[0]!r}; the objectives are "
                f"{', '.join(self.objectives)}"
            )
        return self

    def config(self) -> RunConfig:
        """Returns the configuration as records.

        Raises:
            UserError: If a block does not fit where the space may put it.
        """
        return RunConfig(
            name=self.name,
            data=self.data.config(),
            space=staged_space(self.name, self.space),
            training=to_record(TrainingConfig, self.training),
            objectives=tuple(get_metric(name) for name in self.objectives),
            constraints=tuple(parse_constraint(text) for text in self.constraints),
            latency=to_record(LatencyConfig, self.latency),
            search=to_record(SearchConfig, self.search),
            baselines=tuple(to_record(BaselineConfig, item) for item in self.baselines),
            reference=self.reference,
        )


def staged_space(name: str, file: SpaceFile) -> StagedSpace:
    """Returns the space that the file describes; every block of it is tried in every place.

    Raises:
        UserError: If a name is unknown or a block does not fit where it may be put.
    """
    space = StagedSpace(
        name=name,
        in_channels=3,
        num_classes=10,
        resolutions=file.resolution,
        stem=Stem(file.stem.width, file.stem.kernel_size, file.stem.stride),
        stages=tuple(staged(stage) for stage in file.stages),
        head=Head(file.head.width, file.head.dropout),
        activations=file.activation,
        round_to=file.round_to,
    )
    check_space(space)
    return space


def staged(stage: StageFile) -> Stage:
    return Stage(
        depths=stage.depth,
        widths=stage.width,
        strides=stage.stride,
        blocks=tuple(block_option(name, values) for name, values in stage.blocks.items()),
        prune_ratios=stage.prune_ratio,
        precisions=stage.precision,
    )


def read_run_file(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Reads a run file and applies ``key.path=value`` overrides.

    A space given as a path is read relative to the run file.

    Raises:
        UserError: With every mistake on a line of its own.
    """
    data = read_yaml(path)
    read_space(data, path.parent)  # so that a key of it can be overridden
    for text in overrides:
        override(data, text)
    read_space(data, path.parent)
    try:
        return RunFile.model_validate(data)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {line}" for line in explain(error))) from None


def read_space(data: dict[str, Any], folder: Path) -> None:
    """Puts a space in the place of the path to it."""
    if isinstance(data.get("space"), str):
        data["space"] = read_yaml(folder / data["space"])


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml_text.load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it as such") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold keys and values, got {type(data).__name__}")
    return data


def override(data: dict[str, Any], text: str) -> None:
    """Sets one key, given as ``search.trials=20``; the value is read as YAML."""
    key, found, value = text.partition("=")
    if not found or not key:
        raise UserError(f"--set {text!r} must read key=value, e.g. --set search.trials=20")
    *path, last = key.split(".")
    place: Any = data
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise UserError(f"--set {text!r}: {part!r} holds a value, not keys; set it as a whole")
    try:
        place[last] = yaml_text.load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text!r} is not YAML: {' '.join(str(error).split())}") from None


def explain(error: ValidationError) -> list[str]:
    """Returns one line for each mistake: where, the rule, the value, what to do."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if part != "[key]")
        place = f"{where}: " if where else ""
        if item["type"] == "extra_forbidden":
            lines.append(unknown_key(item["loc"]))
        elif item["type"] == "missing":
            lines.append(f"{where} is missing; add it")
        elif item["type"] == "value_error":  # one of ours, complete in itself
            lines.append(f"{place}{item['ctx']['error']}")
        else:
            rule = re.sub(r" or instance of \w+", "", item["msg"])
            lines.append(f"{place}{rule[0].lower()}{rule[1:]}, got {shown(item['input'])}")
    return lines


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown_key(location: tuple[int | str, ...]) -> str:
    *place, key = location
    known = known_keys(place)
    near = get_close_matches(str(key), known, 1)
    where = f"in {'.'.join(map(str, place))}" if place else "at the top"
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {key!r} {where}; {hint}"


def known_keys(place: Sequence[int | str]) -> list[str]:
    """Returns the keys allowed at a place of the run file."""
    model: type[BaseModel] = RunFile
    for part in place:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            model = next(section for section in (*get_args(kind), kind) if is_section(section))
    return list(model.model_fields)


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


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
            lines.append(f"{at}{key}: {shown(before)} -> {shown(after)}")
    return lines
