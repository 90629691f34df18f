"""Tables: as wide as they are in a pipe; in a terminal columns go before letters do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table

from nas.cli.terminal.text import escape, styled

GAP = 2  # letters between two columns
NARROWEST = 32  # a text that is wider may be folded down to so many letters


@dataclass(frozen=True, slots=True)
class ColumnHead:
    """What stands above a column.

    Attributes:
        is_number: Whether it is aligned right.
        goes_first: Whether it is left out before the others are.
    """

    name: str
    is_number: bool
    goes_first: bool


@dataclass(frozen=True, slots=True)
class Row:
    cells: tuple[str, ...]
    style: str | None


class FittingTable:
    """Rows of text under heads.

    In a terminal that is too narrow for all columns long texts are folded first; then columns are
    left out and named below: those that are to go first, then the others, from right to left.
    """

    def __init__(self, heads: Sequence[ColumnHead], title: str | None = None) -> None:
        self.heads = tuple(heads)
        self.title = title
        self.rows: list[Row] = []

    def add_row(self, *cells: str, style: str | None = None) -> None:
        """Adds a row; cells that are not given stay empty."""
        missing = len(self.heads) - len(cells)
        assert missing >= 0, f"{len(cells)} cells under {len(self.heads)} heads"
        self.rows.append(Row((*map(escape, cells), *[""] * missing), style))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType | Segment]:
        if not is_screen(console):
            yield from self.whole(console)
            return
        kept = self.that_fit(console.width)
        if self.title:
            yield styled(self.title, "italic")
        yield self.drawn(kept, console.width)
        left_out = [head.name for n, head in enumerate(self.heads) if n not in kept]
        if left_out:
            yield styled(f"(no room for: {', '.join(left_out)})", "dim")

    def whole(self, console: Console) -> Iterator[Segment]:
        """Yields every column in full, and no spaces behind the last."""
        width = sum(map(self.width, range(len(self.heads)))) + GAP * len(self.heads)
        table = self.drawn(range(len(self.heads)), width)
        shown = Group(styled(self.title), table) if self.title else table
        wide = console.options.update(width=max(width, cell_len(self.title or ""), 1))
        for segments in console.render_lines(shown, wide, pad=False):
            text = "".join(segment.text for segment in segments)
            yield Segment(f"{text.rstrip()}\n")

    def that_fit(self, room: int) -> list[int]:
        """Returns which columns are shown in a terminal of so many letters."""
        kept = list(range(len(self.heads)))
        going = sorted(kept[1:], key=lambda n: (not self.heads[n].goes_first, -n))
        for column in going:
            if sum(map(self.least, kept)) + GAP * (len(kept) - 1) <= room:
                break
            kept.remove(column)
        return kept

    def drawn(self, kept: Sequence[int], width: int) -> Table:
        has_heads = any(head.name for head in self.heads)
        table = Table(box=None, pad_edge=False, show_header=has_heads, header_style="bold")
        for number in kept:
            head, folds = self.heads[number], self.least(number) < self.width(number)
            alone = len(kept) == 1 and self.width(number) > width
            table.add_column(
                escape(head.name),
                justify="right" if head.is_number else "left",
                no_wrap=not (folds or alone),
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(row.cells[number] for number in kept), style=row.style)
        return table

    def width(self, column: int) -> int:
        """Returns how many letters a column has at most in a line."""
        cells = [escape(self.heads[column].name), *(row.cells[column] for row in self.rows)]
        return max(cell_len(part) for cell in cells for part in cell.split("\n"))

    def least(self, column: int) -> int:
        """Returns to how many letters a column may be folded."""
        width = self.width(column)
        return width if self.heads[column].is_number else min(width, NARROWEST)


def is_screen(console: Console) -> bool:
    """Whether somebody's terminal ends the lines; a pipe takes any width, coloured or not."""
    isatty = getattr(console.file, "isatty", None)
    return bool(isatty and isatty())


def table(*columns: str, title: str | None = None) -> FittingTable:
    """Returns an empty table.

    Args:
        columns: Their heads. Those that begin with ``>`` are numbers, aligned right; those with
            ``?`` before that go first where a terminal is narrow.
    """
    heads = []
    for column in columns:
        name = column.removeprefix("?")
        heads.append(ColumnHead(name.removeprefix(">"), name.startswith(">"), name != column))
    return FittingTable(heads, title)
