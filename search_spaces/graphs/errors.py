"""Errors that a user can cause: one line with the thing, the rule, the value and the remedy."""


class UserError(ValueError):
    """A mistake in what the user gave; its message is the whole explanation."""


class MistakesError(UserError):
    """Several mistakes in one thing, which are told at once: its arguments are a line each."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class UnsupportedOperatorError(UserError):
    """An operator or precision that a back end does not have; it is never guessed."""


MOST_LETTERS = 300  # of what another library says of a failure


def one_line(error: BaseException) -> str:
    """Returns what an error of another library says, as one line that a terminal may show.

    >>> one_line(OSError("no\\x1b[2J file\\nat line 7")), one_line(KeyError())
    ('no\\\\x1b[2J file', 'KeyError')
    """
    return plain((str(error).strip().splitlines() or [""])[0]) or type(error).__name__


def plain(text: str) -> str:
    """Returns a text of others on one line that a terminal may show: escaped, and cut.

    >>> plain("red \\x1b[31m\\n  text")
    'red \\\\x1b[31m text'
    """
    said = " ".join(text.split())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in said)[
        :MOST_LETTERS
    ]
