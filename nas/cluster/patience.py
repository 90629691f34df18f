"""Patience: waiting for Ray's answers, for no longer than makes sense."""

from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from search_spaces.errors import UserError

ANSWER_LIMIT_S = 60.0


def ask(method: Any, *given: Any, limit_s: float = ANSWER_LIMIT_S) -> Any:  # noqa: ANN401
    """Returns the answer of an actor's method.

    Raises:
        UserError: If it does not answer in time.
    """
    try:
        return ray.get(method.remote(*given), timeout=limit_s)
    except GetTimeoutError:
        raise UserError(
            f"the cluster must answer within {limit_s:g} s, and did not; look at it with 'nas "
            "cluster status' or 'ray status', and go on with --resume"
        ) from None
