"""Sources: where labelled images come from; a new kind is one file, and one row in ``SOURCES``."""

from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, Protocol

from nas.data.digits import Digits
from nas.data.folder import ImageFolder
from nas.data.images import ImageData
from nas.data.npz import Npz
from nas.data.parquet import Parquet
from search_spaces.graphs.errors import UserError


class Source(Protocol):
    """Where labelled images are; its fields are its settings."""

    def load(self) -> tuple[ImageData, ImageData | None]:
        """Returns the images to train with, and the test images where the source has its own.

        Raises:
            UserError: If they cannot be read, or break a rule of ``ImageData``.
        """
        ...


SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "folder": ImageFolder,
    "parquet": Parquet,
    "npz": Npz,
}


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
