"""Errors that a user can cause: one line with the thing, the rule, the value and the remedy."""


class UserError(ValueError):
    """A mistake in what the user gave; its message is the whole explanation."""


class UnsupportedOperatorError(UserError):
    """An operator or precision that a back end does not have; it is never guessed."""
