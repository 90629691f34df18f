"""Models of the service: loaded once, and again when a device was profiled anew."""

from pathlib import Path
from threading import Lock
from typing import Protocol

from latency_models.prediction.model_file import profiled_devices
from latency_models.prediction.predictor import Predictor
from latency_models.transfer.model_file import model_files
from latency_models.transfer.predictions import check_profiled, profiled_model
from search_spaces.graphs.errors import UserError

Stamp = tuple[tuple[int, int, int], ...]


class Models(Protocol):
    """Predictors by the names of their devices; each is asked by one thread at a time."""

    def names(self) -> tuple[str, ...]: ...

    def get(self, device: str) -> Predictor:
        """Returns the predictor of ``device``.

        Raises:
            UserError: If it was never profiled, or its model cannot be read.
        """
        ...


class ProfiledModels:
    """The models in this user's folder of profiles, as they are now."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[Stamp, Predictor]] = {}
        self._lock = Lock()

    def names(self) -> tuple[str, ...]:
        return profiled_devices()

    def get(self, device: str) -> Predictor:
        check_profiled(device, self.names())
        with self._lock:  # clients that come together load it once
            stamp, found = stamp_of(device), self._loaded.get(device)
            if found is None or found[0] != stamp:
                self._loaded[device] = found = (stamp, profiled_model(device))
            return found[1]


def stamp_of(device: str) -> Stamp:
    """Returns what changes when the device's model, or one that it needs, is fitted anew."""
    return tuple(state_of(path, device) for path in model_files(device))


def state_of(path: Path, device: str) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0, 0, 0  # loading says what is missing
    except OSError as error:
        raise UserError(f"cannot read the model of {device}: {error.strerror}") from None
    return state.st_ino, state.st_mtime_ns, state.st_size
