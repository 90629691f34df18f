"""Tables in a pipe and in terminals of any width: no letter is ever cut."""

from io import StringIO

import pytest

from nas.cli.terminal.console import PlainConsole
from nas.cli.terminal.tables import FittingTable, table

LONG = "conv2d 3x3 / 2 + norm + hswish + residual sum, " * 4


class Screen(StringIO):
    """What a terminal shows."""

    def isatty(self) -> bool:
        return True


def shown(made: FittingTable, width: int | None = None) -> list[str]:
    """The lines that are printed: in a terminal of a width, or in a pipe."""
    file = StringIO() if width is None else Screen()
    PlainConsole(file=file, width=width or 20, color_system=None, _environ={}).print(made)
    return file.getvalue().splitlines()


def example() -> FittingTable:
    made = table("network", ">accuracy", "?>MACs", "?>params", "pick", title="front of runs/x")
    made.add_row("trial 1", "98.10 %", "1.23 M", "12.3 k", "best")
    made.add_row("mobilenet_v2", "97.00 %", "456 k", "4.56 k", "knee, fastest", style="yellow")
    return made


def test_a_pipe_gets_every_column_and_no_spaces_behind_the_last() -> None:
    assert shown(example()) == [
        "front of runs/x",
        "network       accuracy    MACs  params  pick",
        "trial 1        98.10 %  1.23 M  12.3 k  best",
        "mobilenet_v2   97.00 %   456 k  4.56 k  knee, fastest",
    ]


def test_a_pipe_gets_a_long_text_in_one_line() -> None:
    made = table("layer", "operator", ">ms")
    made.add_row("stem", LONG.strip(), "0.123")

    assert shown(made)[1] == f"stem   {LONG.strip()}  0.123"


def test_columns_that_may_go_do_so_from_right_to_left_and_are_named() -> None:
    wide, narrower, narrow = (shown(example(), width) for width in (60, 50, 40))

    assert wide[1].split() == ["network", "accuracy", "MACs", "params", "pick"]
    assert narrower[1].split() == ["network", "accuracy", "MACs", "pick"]
    assert narrower[-1] == "(no room for: params)"
    assert narrow[1].split() == ["network", "accuracy", "pick"]
    assert narrow[-1] == "(no room for: MACs, params)"


@pytest.mark.parametrize("width", range(1, 70))
def test_what_a_terminal_shows_of_a_column_is_all_of_it(width: int) -> None:
    lines = shown(example(), width)
    letters = "".join("".join(lines).split())

    assert "…" not in letters
    assert "mobilenet_v2" in letters or width < 12  # folded between other lines
    if any("pick" in line.split() for line in lines):
        assert any("knee, fastest" in line for line in lines)


def test_a_long_text_is_folded_before_a_column_goes() -> None:
    made = table("layer", "operator", ">ms")
    made.add_row("stem", LONG.strip(), "0.123")

    lines = shown(made, 60)

    assert lines[0].split() == ["layer", "operator", "ms"]
    assert "no room" not in "".join(lines)
    words = " ".join(lines[1:]).replace("0.123", "").split()
    assert words == ["stem", *LONG.split()]
    assert max(map(len, lines)) <= 60


def test_the_first_column_stays_and_is_folded_where_nothing_else_is_left() -> None:
    made = table("hash", ">macs")
    made.add_row("0123456789abcdef", "12")

    lines = shown(made, 10)

    assert "".join(line.strip() for line in lines[1:3]) == "0123456789abcdef"
    assert "macs" in " ".join(lines[3:])


def test_cells_that_are_not_given_are_empty_and_heads_without_a_name_take_no_line() -> None:
    made = table("", "", "")
    made.add_row("cpu", "fast")

    assert shown(made) == ["cpu  fast"]


def test_wide_letters_and_several_lines_stay_in_their_columns() -> None:
    made = table("class", "genes", ">n")
    made.add_row("猫", "stage 0\nstage 1 block", "1")

    assert shown(made) == [
        "class  genes          n",
        "猫     stage 0        1",
        "       stage 1 block",
    ]
