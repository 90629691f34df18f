"""Front doors: the few names of a package that notebooks and scripts use, imported when asked for.

So importing a package stays light, whatever its names need.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def front_door(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns the ``__getattr__`` and ``__dir__`` of a package.

    Args:
        homes: By public name: the module that defines it.
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}"
            )
        return getattr(import_module(homes[name]), name)

    return find, lambda: sorted(homes)
