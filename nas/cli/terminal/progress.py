"""Progress: the bar of a search, a training or a profile."""

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from nas.cli.terminal.console import console
from nas.cli.terminal.text import styled


class WhatIsDone(ProgressColumn):
    """What is done now; a text that holds names, which rich's own column reads as markup."""

    def render(self, task: Task) -> Text:
        return styled(task.description)


def progress_bar(*columns: ProgressColumn, spins: bool = False) -> Progress:
    """Returns a bar with what is done now before it and ``columns`` behind it.

    In a pipe or file there is none: it would stand among the lines that are printed.
    """
    first = (SpinnerColumn(),) if spins else ()
    silent = not console.is_terminal
    return Progress(*first, WhatIsDone(), BarColumn(), *columns, console=console, disable=silent)


def said(field: str) -> TextColumn:
    """Returns a column of words, or of a task's field in braces."""
    return TextColumn(field, justify="right", markup=False)
