"""Errors that a user can cause: one line with the thing, the rule, the value and the remedy."""


class UserError(ValueError):
    """A mistake in what the user gave; its message is the whole explanation."""


class MistakesError(UserError):
    """Several mistakes in one thing, which are told at once: its arguments are a line each."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class UnsupportedOperatorError(UserError):
    """An operator or precision that a back end does not have; it is never guessed."""
