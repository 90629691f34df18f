"""Style: what commands print through."""

import sys

from nas.cli.terminal.console import console as console
from nas.cli.terminal.numbers import accuracy_of as accuracy_of
from nas.cli.terminal.numbers import metric as metric
from nas.cli.terminal.tables import table as table
from nas.cli.terminal.text import escape


def print_error(said: str) -> None:
    """Writes what is wrong to where errors go."""
    sys.stderr.write(f"{escape(said)}\n")
