"""Spaces to profile: of a run file, or a file that is a space alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from pydantic import ValidationError

from nas.problem.run_file import RunFile, read_run_file, read_yaml
from nas.problem.space_file import SpaceFile, staged_space
from nas.problem.validation import explain
from search_spaces.graphs.errors import MistakesError
from search_spaces.graphs.graph import Graph
from search_spaces.space.space import sample
from search_spaces.space.staged import StagedSpace


def read_space(path: Path, in_channels: int | None, num_classes: int | None) -> StagedSpace:
    """Returns the space of a run file, or of a file that holds a space.

    Args:
        in_channels: Of the images; None asks the run file's data, or takes 3.
        num_classes: None asks the run file's data, or takes 10.

    Raises:
        UserError: If the file, or the data that it names, cannot be read.
    """
    data = read_yaml(path)
    if "space" in data:
        return of_run(path, in_channels, num_classes)
    try:
        space = staged_space(path.stem, SpaceFile.model_validate(data))
    except ValidationError as error:
        lines = explain(error, SpaceFile)
        raise MistakesError(*(f"{path}: {line}" for line in lines)) from None
    return replace(space, in_channels=in_channels or 3, num_classes=num_classes or 10)


def of_run(path: Path, in_channels: int | None, num_classes: int | None) -> StagedSpace:
    file: RunFile = read_run_file(path)
    config = file.config()
    if in_channels is None or num_classes is None:
        from nas.data.sources.registry import make_source

        listing = make_source(config.data.kind, **config.data.settings).listing()  # no pixels
        in_channels = in_channels or listing.channels
        num_classes = num_classes or len(listing.class_names)
    return replace(config.space, in_channels=in_channels, num_classes=num_classes)


def drawing(space: StagedSpace) -> Callable[[Random], Graph]:
    """Returns a function that draws networks of ``space``."""
    return lambda rng: sample(space, rng).graph
