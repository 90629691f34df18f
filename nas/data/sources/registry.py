"""Kinds of sources: a new one is one file, and one row in ``SOURCES``."""

from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, Protocol

from nas.data.sources.decode import Size
from nas.data.sources.digits import Digits
from nas.data.sources.folder import ImageFolder
from nas.data.sources.listing import Listing, Loaded, loaded
from nas.data.sources.npz import Npz
from nas.data.sources.parquet import Parquet
from search_spaces.graphs.errors import UserError


class Source(Protocol):
    """Where labelled images are; its fields are its settings."""

    def listing(self, fallback: Size | None = None) -> Listing:
        """Returns what is there; no pixel is read.

        Args:
            fallback: Height and width that images of several sizes are resized to, where the
                settings say none.

        Raises:
            UserError: If it cannot be read, or has no two classes.
        """
        ...


SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "folder": ImageFolder,
    "parquet": Parquet,
    "npz": Npz,
}


def load(source: Source, fallback: Size | None = None) -> Loaded:
    """Returns the images of a source; `Source.listing` says of what and what is raised."""
    return loaded(source.listing(fallback))


def make_source(kind: str, **settings: Any) -> Source:  # noqa: ANN401  (checked by each source)
    """Returns the source of this kind.

    >>> make_source("parquet", path="train.parquet", image_column="jpeg").image_column
    'jpeg'

    Raises:
        UserError: If the kind or a setting is unknown (the message names the known ones), or a
            setting is missing.
    """
    if kind not in SOURCES:
        raise UserError(f"unknown data kind {kind!r}; known kinds: {', '.join(SOURCES)}")
    source = SOURCES[kind]
    known = {field.name: field for field in fields(source)}  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise UserError(f"data kind {kind!r} has no setting {name!r}; {hint}")
    for name, field in known.items():
        if field.default is MISSING and name not in settings:
            raise UserError(f"data kind {kind!r} needs the setting {name!r}; add it")
    return source(**settings)
