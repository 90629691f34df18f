"""Step files: what a recipe says of each step: its own settings, and those of training."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from pydantic import BaseModel, create_model, model_validator

from nas.compression.steps.registry import STEPS
from nas.compression.workbench import CompressionStep
from nas.data.augmentation.settings import Augmentation
from nas.problem.run_file import TrainingFile
from nas.problem.training_config import TrainingConfig
from nas.problem.validation import Strict, strict_record, to_record
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

# What a step does not change: where it trains, and what other keys and steps say.
NOT_OF_STEPS = {
    *("device", "fp32_epochs", "norm_l1", "hold"),
    *("distillation_weight", "distillation_temperature"),
}
LONG = TrainingConfig(epochs=10**9)  # beside which a key is held by itself
TRAINING_KEYS = tuple(n for n in TrainingFile.model_fields if n not in NOT_OF_STEPS)


def step_file(record: type[CompressionStep]) -> type[BaseModel]:
    """Returns the model of a step: its own settings, and the keys of training where it trains."""
    own = strict_record(record)
    if not record.trains:
        return own
    rows: dict[str, Any] = {
        name: (TrainingFile.model_fields[name].annotation | None, None)
        for name in TRAINING_KEYS
        if name not in own.model_fields
    }
    rows |= {name: (item.annotation, item) for name, item in own.model_fields.items()}
    return create_model(
        f"{record.__name__}StepFile",
        __base__=Strict,
        __validators__={"check_record": made_by(record)},
        **rows,
    )


def made_by(record: type[CompressionStep]) -> Any:  # noqa: ANN401  (a decorated function)
    """A validator that makes the step and each change of training, which refuse values."""

    def check(model: BaseModel) -> BaseModel:
        wrong = []
        changes = changes_of(model) if record.trains else {}
        tried: list[Callable[[], object]] = [lambda: to_step(record, dict(model))]
        tried += [partial(replace, LONG, **{name: value}) for name, value in changes.items()]
        for make in tried:
            try:
                make()
            except UserError as error:
                wrong.append(str(error))
        if wrong:
            raise UserError("; ".join(wrong))
        return model

    return model_validator(mode="after")(check)


def to_step(record: type[CompressionStep], given: Mapping[str, Any]) -> CompressionStep:
    """Returns a step by what its file says, the keys of training left out."""
    own = {item.name for item in fields(record)}  # type: ignore[arg-type]
    return record(**{name: value for name, value in given.items() if name in own})


def changes_of(given: BaseModel) -> dict[str, Any]:
    """Returns the keys of training that a step says, as the fields of the record."""
    said = sorted(given.model_fields_set & set(TRAINING_KEYS))
    return {name: value_of(getattr(given, name)) for name in said}


def one_key(value: object) -> object:
    """A step without settings is written as its name alone."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict):
        if len(value) != 1:
            raise UserError(
                f"a step must be one key, its name, and under it its settings, got "
                f"{', '.join(map(str, value)) or 'none'}; indent the settings further"
            )
        return {name: {} if given is None else given for name, given in value.items()}
    return value


class StepBase(Strict):
    """One of the steps, by its name."""

    @model_validator(mode="before")
    @classmethod
    def check_one_key(cls, value: object) -> object:
        return one_key(value)


STEP_FILES: dict[str, Any] = {
    name: (step_file(record) | None, None) for name, record in STEPS.items()
}
StepItem: Any = create_model("StepItem", __base__=StepBase, **STEP_FILES)


def chosen(item: Any) -> tuple[str, BaseModel]:  # noqa: ANN401  (a model made at run time)
    """Returns the name of a step and its settings."""
    ((name, given),) = ((n, getattr(item, n)) for n in item.model_fields_set)
    if given is None:
        raise UserError(f"step {name} must hold settings, got {shown(given)}")
    return name, given


def merged(base: TrainingConfig, given: BaseModel) -> TrainingConfig:
    """Returns the recipe's training with what a step says of it.

    Fewer epochs than the warm-up has keep its share of them, where the step says nothing of it.
    """
    changes = changes_of(given)
    epochs = changes.get("epochs", base.epochs)
    if "warmup_epochs" not in changes and isinstance(epochs, int):
        share = base.warmup_epochs / base.epochs
        changes["warmup_epochs"] = min(base.warmup_epochs, share * epochs)
    return replace(base, **changes)


def value_of(value: object) -> object:
    return to_record(Augmentation, value) if isinstance(value, BaseModel) else value
