"""The command ``nas`` in the process of the tests; importing torch takes longer than most of it.

What only a process shows (its imports, signals, its environment) is tested with one.
"""

from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from nas.cli import main


def nas(*words: str, at: Path, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command and returns what it printed, and then its errors.

    Args:
        at: The folder that it runs in.
        code: What it must end with.
        environment: Variables that it sees besides those of this process.
    """
    said, wrong = StringIO(), StringIO()
    seen = {"COLUMNS": "200"} | dict(environment or {})
    with (
        chdir(at),
        patch.dict("os.environ", seen),
        redirect_stdout(said),
        redirect_stderr(wrong),
    ):
        ended = exit_code(words)
    assert ended == code, said.getvalue() + wrong.getvalue()
    return said.getvalue() + wrong.getvalue()


def exit_code(words: tuple[str, ...]) -> object:
    try:
        main(words)
    except SystemExit as end:
        return end.code or 0
    return 0
