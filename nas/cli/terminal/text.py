"""Text: what stands in names and files, as it may be written to a terminal."""

import re

from rich.text import Text

# Control characters but tab and newline, and those that turn the direction of writing.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    r"""Returns ``text`` with nothing in it that a terminal would obey.

    >>> print(escape("a\x1b[31mb\rc\x9b1m"), escape("caf\u00e9 \u202etxt"))
    a\x1b[31mb\x0dc\x9b1m café \u202etxt
    """
    return UNSEEN.sub(lambda found: as_code(found[0]), text)


def as_code(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def in_one_line(text: str) -> str:
    r"""
    >>> print(in_one_line("no run\nin [b]\x07"))
    no run\x0ain [b]\x07
    """
    return escape(text).replace("\n", as_code("\n"))


def styled(text: str, style: str = "") -> Text:
    """Returns text in a style, to be put together with other things that are printed."""
    return Text(escape(text), style)
