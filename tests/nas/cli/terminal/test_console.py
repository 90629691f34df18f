"""What is printed is what is in a name: no markup, nothing that a terminal obeys."""

from collections.abc import Callable
from io import StringIO

import pytest

from nas.cli.terminal.console import PlainConsole
from nas.cli.terminal.progress import progress_bar
from nas.cli.terminal.tables import table
from nas.cli.terminal.text import escape, styled
from tests.nas.cli.terminal.test_tables import Screen

EVIL = "[/] [red]:smile: \x1b]0;owned\x07 \x9b2J \r\u202e"
SEEN = "[/] [red]:smile: \\x1b]0;owned\\x07 \\x9b2J \\x0d\\u202e"


def a_table(console: PlainConsole) -> None:
    made = table(EVIL, ">n", title=EVIL)
    made.add_row(EVIL, "1", style="yellow")
    console.print(made)


def a_spinner(console: PlainConsole) -> None:
    with console.status(EVIL) as status:
        status.update(f"then {EVIL}")


WAYS: dict[str, Callable[[PlainConsole], None]] = {
    "a line": lambda console: console.print(EVIL, style="bold"),
    "styled text": lambda console: console.print(styled(EVIL, "dim")),
    "a table": a_table,
    "a spinner": a_spinner,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", [StringIO, Screen])
def test_a_name_is_printed_as_it_is_written_and_never_obeyed(
    way: str, file: type[StringIO]
) -> None:
    written = file()
    console = PlainConsole(file=written, width=200, color_system=None, _environ={"TERM": "dumb"})

    WAYS[way](console)

    said = written.getvalue()
    assert SEEN in said or (way == "a spinner" and said == "")
    assert not set(said) & set("\x1b\x07\x9b\r\u202e")


def test_a_bar_says_names_as_they_are() -> None:
    bar = progress_bar()
    bar.add_task(EVIL, total=3)
    console = PlainConsole(file=StringIO(), width=200, color_system=None, _environ={})

    with console.capture() as said:
        console.print(bar.get_renderable())

    assert SEEN in said.get()


def test_what_is_escaped_once_stays() -> None:
    assert escape(escape(EVIL)) == escape(EVIL) == SEEN
    assert escape("tab\tand\nline, café, 猫, a‍b") == "tab\tand\nline, café, 猫, a‍b"
