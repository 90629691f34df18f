"""Schema: JSON from outside held against a type, once, where it comes in.

A frozen dataclass says what its fields may be; `read_as` takes it at its word, so that nothing
further in meets a text where a number belongs, a tuple too short, or an infinity. What is read is
bounded while it is read, and shown cut.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from reprlib import Repr
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from search_spaces.graphs.errors import UserError

MOST_DIGITS = 40  # of a whole number in a file; more than any of ours has
MOST_INTEGER = 1 << 53  # what a JSON number holds exactly
MOST_BYTES = 1 << 26  # of a JSON file

_cut = Repr()
_cut.maxlevel, _cut.maxdict, _cut.maxstring, _cut.maxother = 2, 20, 200, 200
_cut.maxlist = _cut.maxtuple = _cut.maxset = _cut.maxfrozenset = 20


def shown(value: object) -> str:
    """Returns a value as messages show it: cut while it is written, whatever it holds.

    >>> shown({"a": [1, 2, 3, 4, 5]}), shown("x" * 100)[-5:]
    ("{'a': [1, 2, 3, 4, 5]}", 'xx...')
    """
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return f"a number of more than {MOST_DIGITS} digits"
    text = _cut.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_json(text: str) -> Any:  # noqa: ANN401  (whatever it holds)
    """Returns what a JSON text holds.

    Raises:
        ValueError: If it is no JSON, too long, too deep, or has a number of absurd length.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text)} characters, at most {MOST_BYTES} are read")
    try:
        return json.loads(text, parse_int=whole_number)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


def whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, at most {MOST_DIGITS} are read")
    return int(digits)


def read_as(kind: Any, value: object, at: str = "") -> Any:  # noqa: ANN401  (any annotation)
    """Returns a JSON value as the annotation ``kind`` has it: lists as tuples, rows as records.

    Args:
        at: Where the value stands, for messages.

    Raises:
        UserError: If it is of another type, infinite, or refused by the record itself.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return value
    if is_dataclass(kind):
        return read_record(kind, value, at)
    if origin in (Union, types.UnionType):
        return read_union(inner, value, at)
    if origin is Literal:
        return value if is_one_of(value, inner) else wrong(at, f"one of {named(inner)}", value)
    if origin is tuple:
        return read_tuple(inner, value, at)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            wrong(at, "a mapping", value)
        return {key: read_as(inner[1], each, f"{at}[{shown(key)}]") for key, each in value.items()}
    return read_plain(kind, value, at)


def read_plain(kind: type, value: object, at: str) -> object:
    if kind is float:
        is_number = type(value) in (int, float) and abs(value) <= 1e300  # type: ignore[arg-type]
        return value if is_number and isfinite(value) else wrong(at, "a finite number", value)  # type: ignore[arg-type]
    if kind is int:
        is_count = type(value) is int and abs(value) <= MOST_INTEGER
        return value if is_count else wrong(at, "a whole number", value)
    nouns = {str: "a text", bool: "true or false", types.NoneType: "null"}
    return value if type(value) is kind else wrong(at, nouns[kind], value)


def read_union(kinds: tuple[Any, ...], value: object, at: str) -> object:
    if value is None and types.NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    for kind in kinds[:-1]:
        try:
            return read_as(kind, value, at)
        except UserError:
            continue
    return read_as(kinds[-1], value, at)


def read_tuple(kinds: tuple[Any, ...], value: object, at: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        wrong(at, "a list", value)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        wrong(at, f"a list of {len(kinds)}", value)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(read_as(kind, each, f"{at}[{index}]") for index, (kind, each) in pairs)


@cache
def hints(record: type) -> Mapping[str, Any]:
    return get_type_hints(record)


def read_record(record: Any, value: object, at: str = "") -> Any:  # noqa: ANN401
    """Returns the record whose fields a mapping holds; those with a default may be left out.

    Raises:
        UserError: If a field is missing, unknown or wrong.
    """
    if not isinstance(value, Mapping):
        wrong(at, "a mapping", value)
    known = {item.name: item for item in fields(record)}
    if unknown := sorted(map(str, value.keys() - known.keys())):
        raise UserError(f"{place(at)}has no field {shown(unknown[0])}; known: {', '.join(known)}")
    for name, item in known.items():
        if name not in value and item.default is MISSING and item.default_factory is MISSING:
            raise UserError(f"{place(at)}lacks {name!r}")
    kinds = hints(record)
    inside = f"{at}." if at else ""
    given = {key: read_as(kinds[key], each, f"{inside}{key}") for key, each in value.items()}
    try:
        return record(**given)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{place(at)}{error}") from None


def is_one_of(value: object, known: tuple[Any, ...]) -> bool:
    return any(type(value) is type(each) and value == each for each in known)


def named(known: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, known))


def place(at: str) -> str:
    return f"{at} " if at else "it "


def wrong(at: str, rule: str, value: object) -> NoReturn:
    raise UserError(f"{at or 'it'} must be {rule}, got {shown(value)}")
