"""Recipe: what ``nas compress`` is told, as YAML, checked as a whole before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from nas.compression.running.step_files import StepItem, chosen, merged, one_key, to_step
from nas.compression.steps.archive import ArchiveFile
from nas.compression.steps.export import ExportFiles
from nas.compression.steps.registry import STEPS
from nas.compression.stop import Drop, StopRules
from nas.compression.workbench import CompressionStep
from nas.problem import yaml_text
from nas.problem.metrics import parse_constraint
from nas.problem.records import BaselineConfig, DataConfig, LatencyConfig
from nas.problem.run_file import (
    DataFile,
    LatencyFile,
    TrainingFile,
    folder_name,
    override,
    read_yaml,
)
from nas.problem.training_config import TrainingConfig
from nas.problem.validation import (
    Listed,
    Strict,
    explain,
    known,
    to_record,
)
from search_spaces.graphs.errors import MistakesError, UserError


class StopFile(Strict):
    """When a compression ends, or leaves out what compresses further."""

    max_accuracy_drop: Drop | None = None
    until: Listed[Annotated[str, known(parse_constraint)]] = ()

    def rules(self) -> StopRules:
        return StopRules(self.max_accuracy_drop, tuple(map(parse_constraint, self.until)))


class NetworkFile(Strict):
    """How a published network is built, where one is named instead of a model folder."""

    width: Annotated[float, Field(gt=0)] = 1.0
    resolution: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True, slots=True)
class RecipeStep:
    """A step of a recipe.

    Attributes:
        number: Counted from 1.
        training: The recipe's, with what the step changes.
        given: What is said of it, as in the file.
    """

    number: int
    step: CompressionStep
    training: TrainingConfig
    given: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def title(self) -> str:
        """
        >>> RecipeStep(3, STEPS["finetune"](), TrainingConfig(), {}).title
        '3 finetune'
        """
        return f"{self.number} {self.name}"


def some(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    if not steps:
        raise UserError(f"a recipe needs at least one step; known steps: {', '.join(STEPS)}")
    return steps


def distinct_files(steps: Sequence[Any]) -> None:
    """Raises UserError if two steps write the same files."""
    names = [name for name, _ in map(chosen, steps)]
    if names.count(ExportFiles.name) > 1:
        raise UserError(
            f"a recipe has one step {ExportFiles.name}, which writes the folder "
            f"{ExportFiles.name}/, got {names.count(ExportFiles.name)}; leave all but one out"
        )
    archives = [given for name, given in map(chosen, steps) if name == ArchiveFile.name]
    files = [getattr(given, "file") for given in archives]  # noqa: B009  (made at run time)
    if twice := [file for file in files if files.count(file) > 1]:
        raise UserError(
            f"archives of one recipe must have names of their own, got {twice[0]!r} twice; give "
            "one of the steps another 'file'"
        )


class RecipeFile(Strict):
    """A recipe: steps from a trained network to a smaller and faster one."""

    name: Annotated[str, AfterValidator(folder_name)]
    data: DataFile = DataFile()
    network: NetworkFile = NetworkFile()
    training: TrainingFile = TrainingFile()
    latency: LatencyFile = LatencyFile()
    stop: StopFile = StopFile()
    steps: Annotated[tuple[StepItem, ...], Field(max_length=100), AfterValidator(some)]

    @model_validator(mode="after")
    def check_steps(self) -> Self:
        if self.latency.source != "measured":
            raise UserError(
                f"latency.source must be measured, got {self.latency.source!r}: a compression "
                "says what networks take, not what they may take; leave the key out"
            )
        for number, item in enumerate(self.steps):
            name, given = chosen(item)
            try:
                merged(to_record(TrainingConfig, self.training), given)
            except UserError as error:
                raise UserError(f"steps.{number}.{name}: {error}") from None
        distinct_files(self.steps)
        return self

    def recipe_steps(self) -> tuple[RecipeStep, ...]:
        base = to_record(TrainingConfig, self.training)
        found = []
        for number, item in enumerate(self.steps, start=1):
            name, given = chosen(item)
            step = to_step(STEPS[name], dict(given))
            said = given.model_dump(mode="json", exclude_unset=True)
            found.append(RecipeStep(number, step, merged(base, given), said))
        return tuple(found)

    def recipe(self) -> "CompressionRecipe":
        return CompressionRecipe(
            self.name,
            self.data.config(),
            to_record(TrainingConfig, self.training),
            to_record(LatencyConfig, self.latency),
            self.stop.rules(),
            self.network.width,
            self.network.resolution,
            self.recipe_steps(),
        )


@dataclass(frozen=True, slots=True)
class CompressionRecipe:
    """A recipe as records.

    Attributes:
        width, resolution: Of a published network, where one is named.
    """

    name: str
    data: DataConfig
    training: TrainingConfig
    latency: LatencyConfig
    stop: StopRules
    width: float
    resolution: int | None
    steps: tuple[RecipeStep, ...]

    def network(self, name: str) -> BaselineConfig:
        return BaselineConfig(name, self.width, self.resolution)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """Reads a recipe and applies ``key.path=value`` overrides; steps count from 0 there.

    Raises:
        UserError: With every mistake on a line of its own.
    """
    data = read_yaml(path)
    steps = data.get("steps")
    if isinstance(steps, list):  # so that --set steps.1.prune.ratio=0.3 finds its place
        data["steps"] = {str(number): opened(item) for number, item in enumerate(steps)}
    for text in overrides:
        override(data, text)
    given = data.get("steps")
    if isinstance(steps, list) and isinstance(given, dict):
        if unknown := [key for key in given if key not in map(str, range(len(steps)))]:
            raise UserError(
                f"--set steps.{unknown[0]}: a recipe of {len(steps)} steps has steps.0 to "
                f"steps.{len(steps) - 1}"
            )
        data["steps"] = list(given.values())
    try:
        return RecipeFile.model_validate(data)
    except ValidationError as error:
        lines = explain(error, RecipeFile)
        raise MistakesError(*(f"{path}: {line}" for line in lines)) from None


def opened(item: object) -> object:
    """Returns a step as a mapping, where it is one; what is not is told with all else."""
    try:
        return one_key(item)
    except UserError:
        return item


def as_data(file: RecipeFile) -> dict[str, Any]:
    """Returns a recipe with every default, its steps by number, as JSON-ready data."""
    data = file.model_dump(mode="json", exclude={"steps"})
    steps = {
        str(number): {name: given.model_dump(mode="json", exclude_unset=True)}
        for number, (name, given) in enumerate(map(chosen, file.steps))
    }
    return data | {"steps": steps}


def to_yaml(file: RecipeFile) -> str:
    """Returns the recipe as a file that says the same."""
    data = as_data(file)
    return yaml_text.dump(data | {"steps": list(data["steps"].values())})
