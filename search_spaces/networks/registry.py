"""Registry of published networks: the one place that maps a network's name to its function."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, Protocol, cast

from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

LARGEST_TRIED = 300  # pixels; every published network works at its paper's 224 or 299


class Network(Protocol):
    """A published network at a width, resolution and number of classes."""

    def __call__(
        self,
        width: float = ...,
        resolution: int = ...,
        num_classes: int = ...,
        in_channels: int = ...,
    ) -> Graph:
        """Returns the network.

        Args:
            width: Multiplies the channels of every layer, as the paper or its code rounds them.
            resolution: Height (= width) of the images, in pixels.

        Raises:
            UserError: If a value is out of range, or the resolution is too small for the strides.
        """
        ...


NETWORKS: dict[str, Network] = {}
P = ParamSpec("P")


def register_network(name: str) -> Callable[[Callable[P, Graph]], Callable[P, Graph]]:
    """Function decorator that adds a network to the catalogue under ``name``."""

    def register(build: Callable[P, Graph]) -> Callable[P, Graph]:
        if name in NETWORKS:
            raise ValueError(f"network {name!r} is already registered")

        @wraps(build)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Graph:
            given = signature(build).bind(*args, **kwargs)
            given.apply_defaults()
            return build_checked(name, build, given.arguments)

        NETWORKS[name] = cast("Network", checked)  # P cannot say that it has these parameters
        return checked

    return register


def build_checked(name: str, build: Callable[..., Graph], settings: dict[str, Any]) -> Graph:
    if not settings["width"] > 0:
        raise UserError(f"{name}: width must be positive, got {settings['width']}")
    for key in ("resolution", "num_classes", "in_channels"):
        if settings[key] < 1:
            raise UserError(f"{name}: {key} must be at least 1, got {settings[key]}")
    try:
        return build(**settings)
    except UserError:
        raise
    except ValueError as error:
        least = least_resolution(build, settings)
        if least is None:
            raise UserError(f"{name}: {error}") from None
        reason = str(error).partition(";")[0]  # without the operator's own, vaguer, remedy
        raise UserError(
            f"{name}: a resolution of {settings['resolution']} is too small for its strides "
            f"({reason}); use at least {least}"
        ) from None


def least_resolution(build: Callable[..., Graph], settings: dict[str, Any]) -> int | None:
    """Returns the next resolution at which the network can be built, if there is one."""
    for resolution in range(settings["resolution"] + 1, LARGEST_TRIED):
        try:
            build(**settings | {"resolution": resolution})
        except ValueError:
            continue
        return resolution
    return None


def get_network(name: str) -> Network:
    """Returns the network registered under ``name``.

    Raises:
        UserError: If there is none; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; known networks: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]
