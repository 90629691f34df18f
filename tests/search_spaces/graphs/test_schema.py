"""What comes from outside is held against the types of records, and bounded while it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import parse_json, read_as, shown


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    size: tuple[int, int]
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    note: str | None = None
    counts: Mapping[str, int] | None = None


GOOD: dict[str, Any] = {"name": "x", "size": [1, 2]}


def test_lists_become_tuples_and_rows_records() -> None:
    read = read_as(tuple[Row, ...], [GOOD | {"rate": 1, "counts": {"n": 3}}])

    assert read == (Row("x", (1, 2), 1, counts={"n": 3}),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name must be a text, got 3"),
        ({"size": [1]}, r"size must be a list of 2, got \[1\]"),
        ({"size": [1, 2.0]}, r"size\[1\] must be a whole number, got 2.0"),
        ({"size": [1, True]}, r"size\[1\] must be a whole number, got True"),
        ({"size": [1, 1 << 60]}, r"size\[1\] must be a whole number"),
        ({"size": "12"}, "size must be a list, got '12'"),
        ({"rate": float("inf")}, "rate must be a finite number, got inf"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"rate": 10**400}, "rate must be a finite number, got a number of more than 40 digits"),
        ({"kind": "c"}, "kind must be one of 'a', 'b', got 'c'"),
        ({"note": {}}, "note must be a text, got {}"),
        ({"counts": {"n": None}}, r"counts\['n'\] must be a whole number, got None"),
        ({"color": 1}, "it has no field 'color'; known: name, size"),
    ],
)
def test_a_field_of_another_kind_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_as(Row, GOOD | change)


def test_a_missing_field_is_named_and_no_row_is_none() -> None:
    with pytest.raises(UserError, match="it lacks 'size'"):
        read_as(Row, {"name": "x"})
    with pytest.raises(UserError, match="it must be a mapping, got 'x'"):
        read_as(Row, "x")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "{", "-" + "1" * 41])
def test_json_is_bounded_while_it_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deep|digits|Expecting"):
        parse_json(text)


def test_what_messages_show_is_cut_while_it_is_written() -> None:
    bomb: Any = "x"
    for _ in range(60):
        bomb = [bomb] * 9

    assert len(shown(bomb)) <= 60
    assert shown(10**5000) == "a number of more than 40 digits"
