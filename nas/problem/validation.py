"""Strict models: what is read from outside is checked as a whole, and every mistake explained."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

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

from nas.problem.addresses import NOT_REPEATED, is_suspect, told, without_passwords
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

KINDS = re.compile(r"int|float|str|literal\[.*\]")  # of one value, as pydantic calls them
MOST_LINES, MOST_LETTERS = 20, 1000  # of mistakes in one file, and of each
T = TypeVar("T")
R = TypeVar("R")


def listed(value: object) -> object:
    """One value stands for a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise UserError(f"values must differ, got {shown(repeated[0])} twice")
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
# Lists longer than people write them would keep their reader busy.
Many = Annotated[Listed[T], Field(min_length=1, max_length=1000), AfterValidator(distinct)]


class Strict(BaseModel):
    """Refuses unknown keys, numbers that are not finite, and true or false for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def refuse_truth(cls, value: object, info: ValidationInfo) -> object:
        wanted = cls.model_fields[str(info.field_name)].annotation
        values = value if isinstance(value, list) else [value]
        if wanted is not bool and any(isinstance(item, bool) for item in values):
            raise UserError(f"must not be true or false, got {shown(value)}")
        return value


def strict_record(record: Any) -> type[BaseModel]:  # noqa: ANN401  (any dataclass)
    """Returns the model of a record, so that its fields are written down once."""
    rows: dict[str, Any] = {}
    for item in fields(record):
        if is_dataclass(item.type):
            nested = strict_record(item.type)
            rows[item.name] = (nested, nested())
        elif optional := record_in(item.type):
            rows[item.name] = (strict_record(optional) | None, None)
        elif item.type == tuple[str, ...]:
            rows[item.name] = (Listed[str], default_of(item))
        else:
            rows[item.name] = (item.type, default_of(item))
    return create_model(
        f"{record.__name__}File",
        __base__=Strict,
        __validators__={"check_record": checked(record)},
        **rows,
    )


def default_of(item: Any) -> Any:  # noqa: ANN401  (a field of any dataclass)
    """Returns a field's default as pydantic has it; ``...`` where it must be given."""
    if item.default_factory is not MISSING:
        return Field(default_factory=item.default_factory)
    return ... if item.default is MISSING else item.default


def record_in(kind: Any) -> Any:  # noqa: ANN401  (any type)
    """Returns the dataclass of a field that holds one or nothing; None for other fields."""
    kinds = (each for each in get_args(kind) if isinstance(each, type))
    return next((each for each in kinds if is_dataclass(each)), None)


def to_record(record: Callable[..., R], model: BaseModel) -> R:
    """Returns the record that a model of ``strict_record`` holds.

    Raises:
        UserError: If the record refuses a value.
    """
    kinds: dict[str, Any] = {
        item.name: record_in(item.type) or item.type
        for item in fields(record)  # type: ignore[arg-type]
    }
    values = {
        name: to_record(kinds[name], value) if isinstance(value, BaseModel) else value
        for name, value in dict(model).items()
    }
    return record(**values)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Returns one line for each mistake in a ``model``: where, the rule, the value, the remedy."""
    lines, mistakes = [], united(error.errors())
    for item in mistakes[:MOST_LINES]:
        where = ".".join(str(part) for part in item["loc"] if part != "[key]")
        place = f"{where}: " if where else ""
        if item["type"] == "extra_forbidden":
            lines.append(unknown_key(item["loc"], model))
        elif item["type"] == "missing":
            lines.append(f"{where} is missing; add it")
        elif item["type"] == "value_error":  # one of ours, complete in itself
            lines.append(place + cleared(str(item["ctx"]["error"]), item["input"]))
        else:
            rule = re.sub(r" or instance of \w+", "", item["msg"])
            rule = re.sub(r"(?i)\btuple\b", "list", rule)
            lines.append(f"{place}{rule[0].lower()}{rule[1:]}, got {told(item['input'])}")
    if (more := len(mistakes) - MOST_LINES) > 0:
        lines.append(f"... and {more} more")
    return [cut(without_passwords(line)) for line in lines]


def united(mistakes: Iterable[Any]) -> list[Any]:
    """Returns mistakes, those of a value that may be of several kinds as one of all of them.

    Pydantic has one for each kind, whose place ends with its name.
    """
    found: dict[tuple[int | str, ...], Any] = {}
    for item in mistakes:
        *place, kind = item["loc"] or ("",)
        if not KINDS.fullmatch(str(kind)):
            found[(*item["loc"], len(found))] = item
        elif (key := tuple(place)) in found:
            rule = item["msg"].split(", unable to")[0].removeprefix("Input should be ")
            found[key] |= {"msg": f"{found[key]['msg']} or {rule}"}
        else:
            rule = item["msg"].split(", unable to")[0]
            found[key] = {**item, "loc": key, "msg": rule}
    return list(found.values())


def cut(line: str) -> str:
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 3]}..."


def cleared(message: str, given: object) -> str:
    """Returns a message of ours without the text that it is about, where that is suspect."""
    if not isinstance(given, str) or not is_suspect(given):
        return message
    return message.replace(repr(given), NOT_REPEATED).replace(given, NOT_REPEATED)


def unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    *place, key = location
    known = known_keys(place, model)
    near = get_close_matches(str(key), known, 1)
    where = f"in {'.'.join(map(str, place))}" if place else "at the top"
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {told(key)} {where}; {hint}"


def known_keys(place: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """Returns the keys allowed at a place of a ``model``."""
    for part in place:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            model = next(section for section in (*get_args(kind), kind) if is_section(section))
    return list(model.model_fields)


def is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
