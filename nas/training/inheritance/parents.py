"""Parents: which finished network of a run a candidate inherits from, decided once.

The parent is the network of the run that has most genes in common with the candidate; of several
the most accurate. What was decided is on file until the candidate's evaluation is: a training that
is taken up again has the parent that it had, whoever has left the run folder meanwhile.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas.problem.records import Inherit, RunConfig
from nas.runs.evaluation import Heritage
from nas.runs.files import read_json, write_json
from nas.runs.folder import RunFolder, checked
from nas.training.inheritance.first_weights import Parent
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as
from search_spaces.inheritance.inheriting import Kinship
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture

log = logging.getLogger("nas.search")


class Parentage(Protocol):
    """Whom candidates inherit from."""

    def heritage_of(self, candidate: Architecture, /) -> Heritage | None:
        """Returns what a candidate inherits; None has it trained from nothing."""
        ...

    def load(self, key: str, /) -> Parent:
        """Returns the trained network with this hash.

        Raises:
            UserError: If its weights are gone or damaged.
        """
        ...

    def give_up(self, key: str, /) -> None:
        """Has the candidate with this hash trained from nothing after all."""
        ...

    def forget(self, key: str, /) -> None:
        """Lets go of what was decided of a candidate; nothing happens where nothing was."""
        ...


class NoParents:
    """For searches that train every candidate from nothing."""

    def heritage_of(self, candidate: Architecture, /) -> Heritage | None:
        return None

    def load(self, key: str, /) -> Parent:
        raise AssertionError(f"nobody inherits from {key}")

    def give_up(self, key: str, /) -> None:
        """Nothing was decided."""

    def forget(self, key: str, /) -> None:
        """Nothing was decided."""


NO_PARENTS = NoParents()


@dataclass(frozen=True, slots=True)
class FinishedNetwork:
    """A finished network that others may inherit from.

    Attributes:
        is_afresh: Whether it was trained from nothing.
    """

    key: str
    genes: Mapping[str, Value]
    accuracy: float
    is_afresh: bool


class RunParents:
    """The finished networks of a run folder; several processes may decide at once."""

    def __init__(self, run: RunFolder, rule: Inherit) -> None:
        self.run = run
        self.rule = rule
        self._known: dict[str, FinishedNetwork | None] = {}

    def heritage_of(self, candidate: Architecture, /) -> Heritage | None:
        key = graph_hash(candidate.graph)
        path = self.file(key)
        try:
            return read_heritage(path)
        except FileNotFoundError:
            heritage = self.decide(key, candidate)
        except UserError as error:
            log.warning("%s: whom it inherits from is decided again: %s", key, error)
            heritage = self.decide(key, candidate)
        self.note(key, heritage)
        return heritage

    def decide(self, key: str, candidate: Architecture) -> Heritage | None:
        finished = [each for each in self.finished() if each.key != key]
        if sum(each.is_afresh for each in finished) < self.rule.after:
            return None
        if is_drawn(key, self.rule.afresh):
            return None
        there = [each for each in finished if self.run.has_weights(each.key)]
        parent = nearest(dict(candidate.genes), there)
        if parent is None:
            return None
        try:
            kin = Kinship(candidate, self.run.load_architecture(parent.key))
        except (UserError, OSError) as error:
            log.warning("%s inherits nothing: %s", key, error)
            return None
        enough = kin.share >= self.rule.least_share
        return Heritage(parent.key, kin.share) if enough else None

    def finished(self) -> Iterator[FinishedNetwork]:
        """Yields the networks of the space that were trained, in the order of their hashes."""
        for path in sorted((self.run.path / "evaluations").glob("[!.]*.json")):
            if path.stem not in self._known:
                self._known[path.stem] = self.learn(path.stem)  # it was written after all else
            if (known := self._known[path.stem]) is not None:
                yield known

    def learn(self, key: str) -> FinishedNetwork | None:
        try:
            evaluation = self.run.load_evaluation(key)
            if evaluation is None or not evaluation.feasible or not evaluation.epochs:
                return None
            genes = read_json(self.run.architecture_file(key))["genes"]
            accuracy, is_afresh = evaluation.values["accuracy"], evaluation.inherited is None
        except (UserError, OSError, KeyError) as error:
            log.warning("nothing inherits from %s: %s", key, error)
            return None
        return FinishedNetwork(key, genes, accuracy, is_afresh) if genes else None

    def load(self, key: str, /) -> Parent:
        model = self.run.load_model(key)
        broken = [name for name, each in model.arrays.items() if not np.isfinite(each).all()]
        if broken:
            raise UserError(f"{self.run.weights_file(key)} is damaged: {broken[0]} is not finite")
        return Parent(self.run.load_architecture(key), model.arrays)

    def give_up(self, key: str, /) -> None:
        self.note(key, None)

    def note(self, key: str, heritage: Heritage | None) -> None:
        given = None if heritage is None else asdict(heritage)
        write_json(self.file(key), {"hash": key, "inherited": given})

    def forget(self, key: str, /) -> None:
        forget_heritage(self.run, key)

    def file(self, key: str) -> Path:
        return heritage_file(self.run, key)


def parents_in(run: RunFolder, config: RunConfig) -> Parentage:
    """Returns whom the candidates of a run inherit from."""
    rule = config.search.inherit
    return NO_PARENTS if rule is None else RunParents(run, rule)


def heritage_file(run: RunFolder, key: str) -> Path:
    return run.heritage / f"{checked(key)}.json"


def forget_heritage(run: RunFolder, key: str) -> None:
    """Lets go of what was decided of a candidate; nothing happens where nothing was."""
    heritage_file(run, key).unlink(missing_ok=True)


def nearest(
    genes: Mapping[str, Value], known: Iterable[FinishedNetwork]
) -> FinishedNetwork | None:
    """Returns the network that has most genes in common, of several the most accurate."""

    def closeness(other: FinishedNetwork) -> tuple[float, float]:
        equal = len(genes.items() & other.genes.items())
        return equal / max(len(genes), len(other.genes)), other.accuracy

    return max(known, key=closeness, default=None)


def is_drawn(key: str, share: float) -> bool:
    """Whether a network belongs to a share of all: the same one in every process.

    >>> [is_drawn(key, 0.1) for key in ("0" * 16, "8" * 16)]
    [True, False]
    """
    return int(key, 16) / 16 ** len(key) < share


def read_heritage(path: Path) -> Heritage | None:
    """Returns what was decided of a candidate.

    Raises:
        FileNotFoundError: If nothing was.
        UserError: If the file is damaged.
    """
    data = read_json(path, "delete it")
    if "inherited" not in data:
        raise UserError(f"{path} is damaged (it lacks 'inherited'); delete it")
    given: Any = data["inherited"]
    return None if given is None else read_as(Heritage, given, "inherited")
