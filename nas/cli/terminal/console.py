"""Console: the one that all commands print through; what it is given is text, never markup."""

from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

from nas.cli.terminal.text import escape, styled


class PlainConsole(Console):
    """A console that takes what it is given for text, as names in files can hold anything.

    It reads no markup, and writes no control character but its own.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:  # noqa: ANN401
        return super().render_str(escape(text), **settings)

    def status(self, status: RenderableType, **settings: Any) -> Status:  # noqa: ANN401
        return PlainStatus(as_text(status), console=self, **settings)


class PlainStatus(Status):
    """A line that is shown as long as something takes; rich's own reads markup in it."""

    def update(self, status: RenderableType | None = None, **settings: Any) -> None:  # noqa: ANN401
        super().update(None if status is None else as_text(status), **settings)


def as_text(said: RenderableType) -> RenderableType:
    return styled(said) if isinstance(said, str) else said


console = PlainConsole()
