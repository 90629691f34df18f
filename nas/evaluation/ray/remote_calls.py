"""Remote calls: answers are waited for no longer than makes sense, and errors cross as plain data.

Pickled exceptions lose fields on the way, and would need the same classes on both sides.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from latency_models.devices.latency import DeviceBusyError, MeasurementError
from nas.evaluation.evaluator import CANDIDATES_FAULT
from nas.evaluation.workers import WorkerLostError
from nas.runs.files import DiskFullError
from nas.training.candidate import CandidateFailedError
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError

Outcome = Mapping[str, Any]


class UnfitNodeError(Exception):
    """A node that came later, and cannot do what the others do."""


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Returns what ``work`` returns, or the error that it raises, as data.

    So whatever else Ray reports of an actor is about its process or node.
    """
    try:
        return {"value": work()}
    except (UserError, OSError) as error:
        return {"error": described(error)}
    except (SilentClusterError, UnfitNodeError) as error:
        return {"error": {"what": "lost", "message": str(error)}}
    except Exception:  # a fault of ours: it ends the search, and says where it was
        return {"error": {"what": "internal", "message": traceback.format_exc()}}


def described(error: UserError | OSError) -> dict[str, str]:
    message = str(error)
    match error:
        case MeasurementError():
            return {"what": "measurement", "kind": error.kind, "message": message}
        case UnsupportedOperatorError():
            return {"what": "unsupported", "message": message}
        case DiskFullError():
            return {"what": "disk full", "message": message}
    what = "candidate" if isinstance(error, CANDIDATES_FAULT) else "user"
    return {"what": what, "message": message}


def value_of(outcome: Outcome) -> Any:  # noqa: ANN401  (whatever the work returned)
    """Returns the value of an outcome.

    Raises:
        UserError: The error that it holds, of the type that it had.
        WorkerLostError: If the node was at fault.
        RuntimeError: If it holds a fault of ours.
    """
    if "error" in outcome:
        raise error_of(outcome["error"])
    return outcome["value"]


def error_of(data: Mapping[str, Any]) -> Exception:
    message = data["message"]
    match data["what"]:
        case "lost":
            return WorkerLostError(message, is_candidates_fault=False)
        case "internal":
            return RuntimeError(f"on a node of the cluster: {message}")
        case "measurement" if data["kind"] == "busy":
            return DeviceBusyError(message)
        case "measurement":
            return MeasurementError(data["kind"], message)
        case "unsupported":
            return UnsupportedOperatorError(message)
        case "disk full":
            return DiskFullError(message)
        case "candidate":
            return CandidateFailedError(message)
    return UserError(message)


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
