"""Gate: what every proposal must be, whatever sampler made it: a network that keeps what is free.

What it refuses costs no trial. It counts what it refused and why, and keeps the closest.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from nas.evaluation.free_rules import KEPT, FreeRules, Judgement
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import check_sizes
from search_spaces.space.space import Architecture

NO_NETWORK = "make no network"


class NothingToProposeError(UserError):
    """No architecture was found that is new and keeps the free rules."""


class SpaceUsedUpError(NothingToProposeError):
    """Every architecture of the space that keeps the free rules was proposed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An architecture that was drawn.

    Attributes:
        excess: How far it is from keeping the free rules; 0 where it does.
        reason: Which it breaks, by what; "" where it keeps them.
    """

    architecture: Architecture
    excess: float
    reason: str


class Gate:
    """Judges what is drawn.

    Args:
        judge: What the free rules say of a graph (`FreeRules.judge`).
        free: These rules, by name: what is let through keeps them.

    Attributes:
        refused: How many draws broke each rule, or made no network.
        closest: The draw that broke the rules least; None where none did.
        misfit: Why the last draw that made no network made none.
    """

    def __init__(
        self,
        judge: Callable[[Graph], Judgement] = lambda graph: KEPT,
        free: frozenset[str] = frozenset(),
    ) -> None:
        self.judge = judge
        self.free = free
        self.refused: Counter[str] = Counter()
        self.closest: Judged | None = None
        self.misfit = ""

    @classmethod
    def of(cls, rules: FreeRules) -> Self:
        """Returns the gate of a run's free rules."""
        return cls(rules.judge, rules.names)

    def draw(self, make: Callable[[], Architecture]) -> Judged | None:
        """Returns what ``make`` draws, judged; None where its decisions make no network."""
        try:
            architecture = make()
            check_sizes(architecture.graph)
            judgement = self.judge(architecture.graph)
        except ValueError as error:
            self.misfit = str(error)
            self.refused[NO_NETWORK] += 1
            return None
        judged = Judged(architecture, judgement.excess, judgement.reason)
        if judged.excess > 0:
            self.refused.update(judgement.broken.keys())
            if self.closest is None or judged.excess < self.closest.excess:
                self.closest = judged
        return judged

    def in_one_line(self) -> str:
        """Returns what was refused and what the closest of it breaks; "" where nothing was."""
        counts = [f"{n} break {rule}" for rule, n in rules_first(self.refused)]
        if misfits := self.refused[NO_NETWORK]:
            counts.append(f"{misfits} {NO_NETWORK} ({self.misfit})")
        return "; ".join(counts)

    def nearest(self) -> str:
        """Returns in words what the closest of the refused breaks."""
        if self.closest is None:
            return f"they {NO_NETWORK}: {self.misfit}" if self.misfit else ""
        return f"the closest: {self.closest.reason}"


def rules_first(refused: Counter[str]) -> list[tuple[str, int]]:
    return [(rule, n) for rule, n in refused.most_common() if rule != NO_NETWORK]
