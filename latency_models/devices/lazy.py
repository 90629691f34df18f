"""Lazy imports: TVM takes seconds, and whoever only describes kernels does not need it."""

from importlib import import_module
from typing import Any


class LazyModule:
    """A module that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, item: str) -> Any:  # noqa: ANN401
        value = getattr(import_module(self._name), item)
        setattr(self, item, value)  # the next use finds it at once
        return value
