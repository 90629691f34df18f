"""Mutations: how what is right is made wrong, in structure, in text and in bytes, by a seed."""

import json
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 255, 1 << 31, 1 << 63, -(1 << 63), 10**30, 10**400),
    *(0.5, -0.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")),
    *("", " ", "x", "../x", "\x00", "\x1b[31m", "[/]", "é" * 300, "1e999", "nan", "-", "\u2028"),
    *([], {}, [[]], [None], {"": {}}, [0, 0], [1, 2, 3], {"a": [1]}, ["x"] * 300),
)
TOKENS = (
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "-",
        '"',
        "'",
        "\n",
        "  ",
        "\t",
        "#",
        "&a ",
        "*a",
        "!!int ",
        "|",
    ),
    *("---\n", "<<: ", "%YAML 1.1\n", "null", "1e999", "9" * 50, "\x00", "=", "[" * 50),
)


def mutated(data: Any, rng: Random) -> Any:  # noqa: ANN401  (JSON)
    """Returns a copy of JSON-like data with one to three places changed."""
    root = {"data": deepcopy(data)}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if places := list(inside(root)):
            change(*rng.choice(places), rng)
    return root.get("data")


def inside(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """Yields every place: what holds it, and its key."""
    left = [value]
    while left:
        container = left.pop()
        for key in list(container if isinstance(container, dict) else range(len(container))):
            yield container, key
            if isinstance(container[key], dict | list):
                left.append(container[key])


FACTORS = (-1, 0, 2, 1000, 1.5)


def change(container: Any, key: Any, rng: Random) -> None:  # noqa: ANN401
    old = container[key]
    match rng.randrange(8):
        case 0:
            del container[key]
        case 1:
            container[key] = [old]
        case 2:
            container[key] = {"x": old}
        case 3 if isinstance(container, dict):
            container[str(rng.choice(ODD))[:40]] = container.pop(key)
        case 4 if isinstance(container, list):
            container.extend(deepcopy(container[:9]))
        case 5:
            container[key] = nested(rng.choice((20, 60, 200)))
        case 6 if isinstance(old, int | float) and not isinstance(old, bool):
            container[key] = old * rng.choice((-1, 0, 2, 1000) if abs(old) > 1e300 else FACTORS)
        case _:
            container[key] = deepcopy(rng.choice(ODD))


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def json_text(data: Any, rng: Random) -> str:  # noqa: ANN401
    """Returns a mutation of data as JSON, some of them in the text itself."""
    if rng.random() < 0.3:
        return mangled(json.dumps(data), rng)
    return dumped(mutated(data, rng))


def dumped(data: Any) -> str:  # noqa: ANN401
    try:
        return json.dumps(data)
    except RecursionError:
        return "[" * 5000


def mangled(text: str, rng: Random) -> str:
    """Returns a text with a few letters taken out, put in or moved."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.randint(0, 20))
        text = text[:at] + rng.choice((*TOKENS, "", text[at:to] * 2)) + text[to:]
    return text


def damaged(data: bytes, rng: Random) -> bytes:
    """Returns bytes that were cut off, overwritten or flipped."""
    whole = bytearray(data)
    match rng.randrange(4):
        case 0:
            del whole[rng.randrange(len(whole) + 1) :]
        case 1:
            at = rng.randrange(len(whole) + 1)
            whole[at : at + 64] = rng.randbytes(64)
        case 2:
            at = rng.randrange(len(whole) + 1)
            whole[at : at + 512] = bytes(512)
        case _:
            for _ in range(rng.randint(1, 8)):
                whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    return bytes(whole)
