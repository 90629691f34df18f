"""Versions and machine, as they stand beside every number."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from latency_models.devices.host import cpu_name

PACKAGES = (
    "hwnas",
    "torch",
    "optuna",
    "numpy",
    "onnx",
    "onnxruntime",
    "apache-tvm",
    "scikit-learn",
)


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def machine() -> dict[str, str]:
    """Returns the processor, its core count and the system."""
    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
    }
