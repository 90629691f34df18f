"""What drivers know of each other by has its names in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

WRITERS = ("set_user_attr", "set_study_user_attr", "set_trial_user_attr")


def literal_names(text: str) -> Iterator[str]:
    """Yields the attributes of trials and studies that a source names in quotes."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=attr), args=[*_, ast.Constant(str(name)), _]
            ) if attr in WRITERS:
                yield name
            case ast.Subscript(value=ast.Attribute(attr="user_attrs"), slice=ast.Constant(name)):
                yield str(name)
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="user_attrs"), attr="get"),
                args=[ast.Constant(name), *_],
            ):
                yield str(name)
            case ast.Compare(
                left=ast.Constant(name), comparators=[ast.Attribute(attr="user_attrs")]
            ):
                yield str(name)


def test_no_attribute_of_a_study_is_named_outside_of_names() -> None:
    sources = [path for room in ("nas", "benchmarks") for path in sorted(Path(room).rglob("*.py"))]
    assert len(sources) > 100

    named = {str(path): [*literal_names(path.read_text())] for path in sources}

    assert {path: names for path, names in named.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        'trial.set_user_attr("hash", key)',
        'storage.set_trial_user_attr(trial_id, "hash", key)',
        'trial.user_attrs["hash"]',
        'trial.user_attrs.get("hash", None)',
        'known = "hash" in trial.user_attrs',
    ],
)
def test_a_name_in_quotes_is_found(text: str) -> None:
    assert [*literal_names(text)] == ["hash"]
