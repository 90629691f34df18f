"""Data paths: where a run's data lies, whatever folder a command is started in.

Paths in a run file are relative to where ``nas`` is started; a run keeps them absolute. Which data
it is, its fingerprints tell, so that a run's data may move.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from glob import glob
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nas.problem.records import DataConfig
from nas.problem.run_file import RunFile
from search_spaces.graphs.errors import UserError


def is_path(key: str) -> bool:
    """Whether a setting of a source is a path.

    >>> [key for key in ("path", "test_path", "label_column") if is_path(key)]
    ['path', 'test_path']
    """
    return key == "path" or key.endswith("_path")


def paths_in(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the settings of a source that are paths."""
    for key, value in settings.items():
        if is_path(key) and isinstance(value, str):
            yield key, value


def with_absolute_paths(file: RunFile, own: RunFile | None = None) -> RunFile:
    """Returns a run file with absolute paths to its data, its teacher, and what runs it is given.

    Args:
        own: What the run that is gone on with has kept: a relative path stays what it was there,
            wherever the search is resumed.
    """
    given = dict(file.data.model_extra or {})
    before = dict(own.data.model_extra or {}) if own is not None else {}
    found = {key: absolute(path, before.get(key)) for key, path in paths_in(given)}
    teacher = own.training.teacher if own is not None else None
    baselines = own.baselines if own is not None else ()
    earlier = own.search.learn_from if own is not None else ()
    runs = zip_longest(file.search.learn_from, earlier[: len(file.search.learn_from)])
    changed = {
        "data": file.data.model_copy(update=found),
        "training": with_absolute(file.training, "teacher", teacher),
        "search": file.search.model_copy(
            update={"learn_from": tuple(absolute(path, kept) for path, kept in runs)}
        ),
        "baselines": tuple(
            with_absolute(item, "model", kept.model if kept is not None else None)
            for item, kept in zip_longest(file.baselines, baselines[: len(file.baselines)])
        ),
    }
    return file.model_copy(update=changed)


def with_absolute(section: BaseModel, key: str, before: object) -> BaseModel:
    """Returns a section of a run file with an absolute path under a key, where there is one."""
    path = getattr(section, key)
    if path is None:
        return section
    return section.model_copy(update={key: absolute(path, before)})


def absolute(path: str, before: object = None) -> str:
    """Returns a path from any folder: the one before, where that ends with it.

    >>> absolute("data/x.npz", "/home/me/data/x.npz"), absolute("/data/x.npz", "/mnt/data/x.npz")
    ('/home/me/data/x.npz', '/data/x.npz')
    """
    wanted = Path(path).expanduser()
    if wanted.is_absolute() or not isinstance(before, str):
        return str(wanted.absolute())
    kept, parts = Path(before), wanted.parts
    return (
        before
        if kept.is_absolute() and kept.parts[-len(parts) :] == parts
        else str(wanted.absolute())
    )


def moved(data: DataConfig, to: str) -> DataConfig:
    """Returns the data of a run whose ``path`` is now ``to``; what lay beside it came along.

    Raises:
        UserError: If its kind has no path.
    """
    paths = dict(paths_in(data.settings))
    if "path" not in paths:
        raise UserError(f"data of kind {data.kind!r} has no path; leave out --data")
    old, new = Path(paths["path"]), Path(absolute(to))
    found = {"path": str(new)}
    for key, path in paths.items():
        if key != "path" and not Path(path).exists():
            beside = os.path.relpath(path, old.parent)
            found[key] = str(new.parent / beside)
    return replace(data, settings={**data.settings, **found})


def check_there(data: DataConfig, run: Path) -> None:
    """Raises UserError if the data of a run is not where it was; the message says what to do."""
    for key, path in paths_in(data.settings):
        place = Path(path).expanduser()
        if not place.exists() and not glob(str(place)):  # several files may be meant
            raise UserError(
                f"{run}: its data is not at {path} (data.{key}); say where it lies now with --data"
            )
