"""Run file: a run's configuration as YAML, checked as a whole before anything starts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from nas.config import (
    BaselineConfig,
    DataConfig,
    LatencyConfig,
    RunConfig,
    SearchConfig,
)
from nas.data.sources import SOURCES, make_source
from nas.metrics import get_metric, parse_constraint
from nas.studies import SAMPLERS
from nas.training_config import TrainingConfig
from search_spaces.choice import Value
from search_spaces.errors import UserError
from search_spaces.networks import get_network
from search_spaces.operators import Activation
from search_spaces.staged import (
    BlockOption,
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


Many = Annotated[tuple[T, ...], BeforeValidator(listed), Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Refuses unknown keys, and numbers that are written as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StemFile(Strict):
    width: Many[Positive] = (16,)
    kernel_size: Many[Positive] = (3,)
    stride: Many[Positive] = (1,)


class StageFile(Strict):
    depth: Many[Positive]
    width: Many[Positive]
    stride: Many[Positive] = (1,)
    blocks: Many[str | dict[str, dict[str, Many[Value]]]]
    prune_ratio: Many[Annotated[float, Field(ge=0, lt=1)]] = (0.0,)
    precision: Many[str] = ("fp32",)


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
    return create_model(f"{record.__name__}File", __base__=Strict, **rows)


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


class DataFile(BaseModel):
    """The kind and splits are ours; other keys are the source's own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "digits"
    validation: float | int = 0.2
    test: float | int = 0.2
    train: float | int | None = None
    seed: int = 0

    def config(self) -> DataConfig:
        given = dict(self.model_extra or {})
        make_source(self.kind, **given)  # knows the names of its settings
        try:
            settings = dict(strict_record(SOURCES[self.kind])(**given))
        except ValidationError as error:
            raise UserError("\n".join(f"data.{line}" for line in explain(error))) from None
        return DataConfig(self.kind, settings, self.validation, self.test, self.train, self.seed)


TrainingFile: Any = strict_record(TrainingConfig)
LatencyFile: Any = strict_record(LatencyConfig)
SearchFile: Any = strict_record(SearchConfig)
BaselineFile: Any = strict_record(BaselineConfig)


class RunFile(Strict):
    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$")]
    data: DataFile = DataFile()
    space: SpaceFile | str
    training: TrainingFile = TrainingFile()
    objectives: Annotated[list[str], Field(min_length=2)] = ["accuracy", "latency_ms"]
    constraints: list[str] = []
    latency: LatencyFile = LatencyFile()
    search: SearchFile = SearchFile()
    baselines: list[str | BaselineFile] = []
    reference: dict[str, float] = {}

    def config(self) -> RunConfig:
        """Returns the configuration as records.

        Raises:
            UserError: If a name is unknown or values do not go together.
        """
        if not isinstance(self.space, SpaceFile):
            raise AssertionError("a space given as a path is read before")
        if len(set(self.objectives)) != len(self.objectives):
            raise UserError(f"objectives must differ, got {', '.join(self.objectives)}")
        search = to_record(SearchConfig, self.search)
        check_search(search)
        return RunConfig(
            name=self.name,
            data=self.data.config(),
            space=staged_space(self.name, self.space),
            training=to_record(TrainingConfig, self.training),
            objectives=tuple(get_metric(name) for name in self.objectives),
            constraints=tuple(parse_constraint(text) for text in self.constraints),
            latency=to_record(LatencyConfig, self.latency),
            search=search,
            baselines=tuple(baseline(item) for item in self.baselines),
            reference={get_metric(name).name: value for name, value in self.reference.items()},
        )


def check_search(search: SearchConfig) -> None:
    for name in ("trials", "workers", "initial"):
        if getattr(search, name) < 1:
            raise UserError(f"search.{name} must be at least 1, got {getattr(search, name)}")
    if search.sampler not in SAMPLERS:
        raise UserError(
            f"unknown sampler {search.sampler!r}; known samplers: {', '.join(SAMPLERS)}"
        )


def baseline(item: str | BaseModel) -> BaselineConfig:
    config = BaselineConfig(item) if isinstance(item, str) else to_record(BaselineConfig, item)
    get_network(config.network)
    return config


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
        blocks=tuple(option for item in stage.blocks for option in block_options(item)),
        prune_ratios=stage.prune_ratio,
        precisions=stage.precision,
    )


def block_options(
    item: str | Mapping[str, Mapping[str, tuple[Value, ...]]],
) -> Iterable[BlockOption]:
    if isinstance(item, str):
        return [block_option(item)]
    return [block_option(name, dict(settings)) for name, settings in item.items()]


def read_run_file(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Reads a run file and applies ``key.path=value`` overrides.

    A space given as a path is read relative to the run file.

    Raises:
        UserError: With every mistake on a line of its own.
    """
    data = read_yaml(path)
    for text in overrides:
        override(data, text)
    if isinstance(data.get("space"), str):
        data["space"] = read_yaml(path.parent / data["space"])
    try:
        return RunFile(**data)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {line}" for line in explain(error))) from None


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
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
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {text!r}: {part!r} holds a value, not keys")
    place[last] = yaml.safe_load(value)


def explain(error: ValidationError) -> list[str]:
    """Returns one line for each mistake: where, the rule, the value, what to do."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(unknown_key(item["loc"]))
        elif item["type"] == "missing":
            lines.append(f"{where} is missing; add it")
        else:
            lines.append(f"{where}: {item['msg'].lower()}, got {shown(item['input'])}")
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
    model: Any = RunFile
    for part in place:
        if isinstance(part, int):
            continue
        if isinstance(part, str) and part in SECTIONS:
            model = SECTIONS[part]
    return list(model.model_fields)


SECTIONS: dict[str, Any] = {
    "data": DataFile,
    "space": SpaceFile,
    "stem": StemFile,
    "stages": StageFile,
    "head": HeadFile,
    "training": TrainingFile,
    "latency": LatencyFile,
    "search": SearchFile,
    "baselines": BaselineFile,
}


def to_yaml(file: RunFile) -> str:
    """Returns the run file as YAML with every default written out."""
    return yaml.safe_dump(file.model_dump(mode="json"), sort_keys=False)


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
