"""Outcomes: errors that cross the cluster as plain data and are raised again where they are met.

Pickled exceptions lose fields on the way, and would need the same classes on both sides.
"""

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from latency_models.latency import DeviceBusyError, MeasurementError
from nas.candidate_training import CandidateFailedError
from nas.cluster.patience import SilentClusterError
from nas.evaluator import CANDIDATES_FAULT
from nas.run_folder import DiskFullError
from nas.workers import WorkerLostError
from search_spaces.errors import UnsupportedOperatorError, UserError

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
