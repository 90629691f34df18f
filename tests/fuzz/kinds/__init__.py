"""What is tried: each kind's own file makes what is right, and has mutations of it read."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz.kinds import (
    addresses,
    architectures,
    archives,
    devices,
    latency_models,
    models,
    onnx_files,
    profiles,
    records,
    requests,
    run_files,
    run_folders,
    spaces,
)
from tests.fuzz.runner import Kind

# Each makes what it needs in an empty folder.
KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "run_files": run_files.kind,
    "spaces": spaces.kind,
    "addresses": addresses.kind,
    "architectures": architectures.kind,
    "archives": archives.kind,
    "devices": devices.kind,
    "latency_models": latency_models.kind,
    "models": models.kind,
    "onnx_files": onnx_files.kind,
    "profiles": profiles.kind,
    "records": records.kind,
    "requests": requests.kind,
    "run_folders": run_folders.kind,
}
