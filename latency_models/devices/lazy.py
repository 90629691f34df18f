"""Lazy imports: TVM takes seconds, and whoever only describes kernels does not need it."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, cast


class LazyModule:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, item: str) -> Any:  # noqa: ANN401
        value = getattr(import_module(self._name), item)
        setattr(self, item, value)  # the next use finds it at once
        return value


def leave_torch_out() -> None:
    """Keeps TVM from importing torch, which takes longer than all of TVM.

    For processes that only compile and time, before anything else: to them torch is not
    installed.
    """
    sys.modules.setdefault("torch", cast(ModuleType, None))
