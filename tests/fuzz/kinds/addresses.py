"""Addresses: mutated ones, at every door of a run file, never give their password away."""

import re
from pathlib import Path
from random import Random

from nas.cli import explain
from nas.problem.run_file import read_run_file, to_yaml
from search_spaces.graphs.errors import UserError
from tests.fuzz.mutations import mangled
from tests.fuzz.runner import Kind
from tests.nas.parts.tiny import tiny

SECRET = "hush-hush-hush"
RIGHT = (
    "postgresql+psycopg://user:{}@host:5432/db?sslmode=require",
    "mysql://host/db?user=me&password={}",
    "postgresql://me:{}@host/db?connect_timeout=3",
)
DOORS = (
    *("search.storage={}", "search.storage=[{}]", "search.storage={{{}}}", "search={}", "{}"),
    *("name={}", "space={}", "search.storage.a={}", "{}=1", "search.storage='{}", "objectives={}"),
)
# What says that something is a password: it stands between ":" and "@", or behind its name.
SAID = re.compile(rf":{SECRET}\S*@|password={SECRET}")
# What a slip of the keyboard puts in, or in the place of something.
SLIPS = ("", ":", "/", "//", "@", " ", ";", "?", "&", "=", "'", '"', "[", "]", "{", "}", "%", "#")


def kind(folder: Path) -> Kind:
    path = folder / "run.yaml"
    path.write_text(to_yaml(tiny()))

    def attempt(rng: Random) -> None:
        left, right = rng.choice(RIGHT).split("{}")
        address = slipped(left, rng) + SECRET + slipped(right, rng)
        if not SAID.search(address):
            return
        try:
            read_run_file(path, [rng.choice(DOORS).format(address)]).config()
        except UserError as error:
            said = explain(error)
            if SECRET in said:
                raise AssertionError(said) from None

    return Kind("addresses", attempt)


def slipped(text: str, rng: Random) -> str:
    for _ in range(rng.randint(0, 2)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(SLIPS) + text[at + rng.randint(0, 2) :]
    return text if rng.random() < 0.9 else mangled(text, rng)
