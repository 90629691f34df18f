"""Patience: waiting for Ray's answers, for no longer than makes sense."""

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

ANSWER_LIMIT_S = 60.0


class SilentClusterError(Exception):
    """A part of the cluster does not answer: nobody's fault that is being evaluated."""


def ask(method: Any, *given: Any, limit_s: float = ANSWER_LIMIT_S) -> Any:  # noqa: ANN401
    """Returns the answer of an actor's method; what the method raises is raised as it was.

    Raises:
        SilentClusterError: If there is no answer in time.
    """
    try:
        return ray.get(method.remote(*given), timeout=limit_s)
    except GetTimeoutError:
        raise SilentClusterError(f"the run folder's keeper is silent for {limit_s:g} s") from None
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise
