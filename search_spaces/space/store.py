"""Store: the shared arrays that a space needs, how large they are, and what keeps them apart.

A space has no list of its networks, so it is asked for many: the largest of each block, with every
choice decided every way, then random ones of that block throughout, and at last random ones, each
until many in a row show nothing new. Each array is as large as the largest window that was seen.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from random import Random

from search_spaces.building.choice import Choice, Value
from search_spaces.space.extremes import Extremes, decided, extremes_of, is_block
from search_spaces.space.sharing import Key, Role, SharedWindow, num_numbers, windows_of
from search_spaces.space.space import Architecture, SearchSpace, decide

QUIET = 300  # random networks of a kind in a row that show nothing new, after which none is drawn
MOST_DRAWS, MOST_TRIES = 5_000, 20_000  # of a kind; some decisions make no network
NUMBER = 4  # bytes of a float32


@dataclass(frozen=True, slots=True)
class SharedStore:
    """What all networks of a space read their arrays from.

    Attributes:
        shapes: Of each shared array, as it is stored.
        roles: What each does.
        own_numbers: Numbers of all arrays of the largest network that was seen.
    """

    shapes: Mapping[Key, tuple[int, ...]]
    roles: Mapping[Key, Role]
    own_numbers: int

    @property
    def num_bytes(self) -> int:
        return NUMBER * num_numbers(self.shapes)

    def missing(self, windows: Mapping[str, SharedWindow]) -> str | None:
        """Returns the name of an array that the store does not hold, or None.

        Steps do not count: they are told by what is quantized.
        """
        for name, window in windows.items():
            if window.role.is_step:
                continue
            shape = self.shapes.get(window.key)
            if shape is None or not window.fits(shape):
                return name
        return None

    def apart_bytes(self) -> dict[str, int]:
        """Returns what each reason to keep weights apart costs, the dearest first.

        That is what would be saved if it did not, and the largest array of each stood for all.
        """
        reasons = {"block", *(reason for key in self.shapes for reason, _ in key.apart)}
        costs = {reason: NUMBER * self._saved_without(reason) for reason in sorted(reasons)}
        return dict(sorted(costs.items(), key=lambda item: -item[1]))

    def _saved_without(self, reason: str) -> int:
        """Returns how many numbers less there were; blocks of a place would be the largest one."""
        together: dict[tuple[Hashable, ...], Counter[str]] = defaultdict(Counter)
        for key, shape in self.shapes.items():
            if reason == "block":
                together[key.place,][key.block] += prod(shape) if key.place else 0
                continue
            apart = tuple(pair for pair in key.apart if pair[0] != reason)
            together[key.place, key.block, key.array, apart][str(key.apart)] += prod(shape)
        return sum(sum(sizes.values()) - max(sizes.values()) for sizes in together.values())

    def in_one_line(self) -> str:
        """Returns how large the shared weights are, and what keeps them apart, for people."""
        apart = [f"{reason} {mega(cost)}" for reason, cost in self.apart_bytes().items() if cost]
        because = f"; kept apart by {', '.join(apart[:4])}" if apart else ""
        return (
            f"supernet: {mega(self.num_bytes)} of shared weights (largest network "
            f"{mega(NUMBER * self.own_numbers)}){because}"
        )


def mega(num_bytes: int) -> str:
    """
    >>> mega(1_234_567), mega(51_200)
    ('1.2 MB', '51 kB')
    """
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.0f} kB"


def store_of(space: SearchSpace, rng: Random, extremes: Extremes | None = None) -> SharedStore:
    """Returns the store that the networks of ``space`` share."""
    extremes = extremes or extremes_of(space)
    survey = Survey()
    for architecture in largest_ones(space, extremes):
        survey.see(architecture)
    for block in (*extremes.blocks, None):
        quiet = 0
        for architecture in islice(drawn(space, rng, block), MOST_DRAWS):
            quiet = 0 if survey.see(architecture) else quiet + 1
            if quiet == QUIET:
                break
    return survey.store()


@dataclass(slots=True)
class Survey:
    """What the networks that were seen need."""

    shapes: dict[Key, tuple[int, ...]] = field(default_factory=dict)
    roles: dict[Key, Role] = field(default_factory=dict)
    own: int = 0

    def see(self, architecture: Architecture) -> bool:
        """Makes room for a network; returns whether it needed any."""
        windows = windows_of(architecture).values()
        self.own = max(self.own, sum(prod(window.folded) for window in windows))
        grown = False
        for window in windows:
            known = self.shapes.get(window.key)
            if known is None or not window.fits(known):
                self.shapes[window.key] = tuple(map(max, known or window.folded, window.folded))
                self.roles.setdefault(window.key, window.role)
                grown = True
        return grown

    def store(self) -> SharedStore:
        order = sorted(self.shapes)
        shapes = {key: self.shapes[key] for key in order}
        return SharedStore(shapes, {key: self.roles[key] for key in order}, self.own)


def largest_ones(space: SearchSpace, extremes: Extremes) -> Iterator[Architecture]:
    """Yields the largest network of each block, and what differs from it in one choice."""
    for block in extremes.blocks or ("",):
        found = decided(space, block, extremes.largest)
        if found is None:
            continue
        yield found.architecture
        for choice in found.choices:
            for value in choice.values:
                other = decided(space, block, {**extremes.largest, choice.name: value})
                if other is not None:
                    yield other.architecture


def drawn(space: SearchSpace, rng: Random, block: str | None) -> Iterator[Architecture]:
    """Yields random networks, of one block wherever it is offered, if one is given."""

    def pick(choice: Choice) -> Value:
        if is_block(choice) and block is not None and block in choice.values:
            return block
        return rng.choice(choice.values)

    for _ in range(MOST_TRIES):
        try:
            yield decide(space, pick)
        except ValueError:
            continue
