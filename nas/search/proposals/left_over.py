"""Left over: finds an architecture that is new and passes the gate where a sampler found none.

Three ways, each with a bounded number of tries: drawing at random, climbing from what breaks the
rules least by mutations that break them less, and walking the space in its order. Only the walk
can tell that nothing is left, and it goes on where it was the last time.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

from nas.search.proposals.gate import Gate, Judged, NothingToProposeError, SpaceUsedUpError
from search_spaces.building.choice import Choice, Value
from search_spaces.space.space import Architecture, SearchSpace, decide, mutate, sample

DRAWS = 50  # at random
CLIMBS = 2  # the first from the closest that is known, the second from the closest of the draws
CLIMB_STEPS = 400  # of one climb
WALK_STEPS = 2000  # of the walk, for one proposal
STUCK = 40  # steps after which a climb takes one mutation more at a time

IsNew = Callable[[Architecture], bool]


class LeftOver:
    """Finds what a sampler of ``space`` did not propose."""

    def __init__(self, space: SearchSpace, gate: Gate) -> None:
        self.space = space
        self.gate = gate
        self._walk = every_architecture(space, self.gate)

    def find(self, is_new: IsNew, rng: Random) -> Architecture:
        """Returns an architecture that is new and passes the gate.

        Raises:
            SpaceUsedUpError: If there is none.
            NothingToProposeError: If none was found in many tries.
        """
        best: Judged | None = None
        for _ in range(DRAWS):
            drawn = self.gate.draw(lambda: sample(self.space, rng))
            if drawn is None:
                continue
            if passes(drawn, is_new):
                return drawn.architecture
            if best is None or drawn.excess < best.excess:
                best = drawn
        for start in (self.gate.closest, best):
            if start is not None and (found := self.climb(start, is_new, rng)):
                return found
        return self.next_of_walk(is_new)

    def climb(self, start: Judged, is_new: IsNew, rng: Random) -> Architecture | None:
        """Returns what mutations lead to that break the rules ever less, if they lead anywhere."""
        here, since = start, 0
        for _ in range(CLIMB_STEPS):
            genes, reach = dict(here.architecture.genes), 1 + since // STUCK
            child = self.gate.draw(lambda: mutate(self.space, genes, rng, rng.randint(1, reach)))  # noqa: B023
            since += 1
            if child is None or child.excess > here.excess:
                continue
            if passes(child, is_new):
                return child.architecture
            since = 0 if child.excess < here.excess else since
            here = child  # also one as far away: plateaus are crossed
        return None

    def next_of_walk(self, is_new: IsNew) -> Architecture:
        """Returns the next architecture that is wanted.

        What was passed is never wanted again, so the walk goes on where it was.
        """
        steps = 0
        for judged in islice(self._walk, WALK_STEPS):
            steps += 1
            if judged is not None and passes(judged, is_new):
                return judged.architecture
        if steps < WALK_STEPS:
            raise SpaceUsedUpError(self.used_up())
        raise NothingToProposeError(self.not_found())

    def used_up(self) -> str:
        said = f"space {self.space.name!r} has no more architectures"
        if nearest := self.gate.nearest():
            said += f" that keep the constraints ({nearest}); loosen them, lower search.trials"
        else:
            said += "; lower search.trials"
        return f"{said}, or enlarge the space"

    def not_found(self) -> str:
        tries = DRAWS + CLIMBS * CLIMB_STEPS + WALK_STEPS
        said = f"none of {tries} more architectures of space {self.space.name!r} is new"
        if nearest := self.gate.nearest():
            said += f" and keeps the constraints ({nearest}); loosen them"
        else:
            said += "; lower search.trials"
        return f"{said}, or enlarge the space"


def passes(judged: Judged, is_new: IsNew) -> bool:
    return judged.excess <= 0 and is_new(judged.architecture)


def every_architecture(space: SearchSpace, gate: Gate) -> Iterator[Judged | None]:
    """Yields every way of deciding the space, the last decision changing fastest.

    None stands for decisions that make no network.
    """
    path: list[int] = []  # which value each decision takes; what is beyond it takes the first
    while True:
        sizes: list[int] = []

        def pick(choice: Choice) -> Value:
            index = path[len(sizes)] if len(sizes) < len(path) else 0  # noqa: B023  (used at once)
            sizes.append(len(choice.values))  # noqa: B023
            return choice.values[index]

        yield gate.draw(lambda: decide(space, pick))
        path += [0] * (len(sizes) - len(path))
        while path and path[-1] + 1 == sizes[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1
