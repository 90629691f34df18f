"""Dealing: which networks of a space train its shared weights next, every block equally often.

*Source:* Chu et al., "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural
Architecture Search", ICCV 2021, https://arxiv.org/abs/1907.01845, section 3.2 (strict fairness);
Yu et al., "BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models", ECCV 2020,
https://arxiv.org/abs/2003.11142, section 3.1 (the sandwich rule: the largest, the smallest, random
ones).
*Differs from the papers:* blocks have no order of size, so the largest and the smallest networks
have blocks that are dealt, and are extreme in all else. Blocks of a place are dealt like
cards, one a network, and only then again; each role of the sandwich has a deck of its own.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from search_spaces.building.choice import Choice, Value
from search_spaces.space.extremes import Extremes, is_block
from search_spaces.space.space import Architecture, SearchSpace, decide

Role = Literal["largest", "random", "smallest"]
TRIES = 20  # of other settings for the same blocks, where some make no network


@dataclass(slots=True)
class Dealer:
    """Deals networks; what it does next follows from ``rng`` alone.

    Attributes:
        shown: How often each role showed each block of each place.
    """

    space: SearchSpace
    extremes: Extremes
    rng: Random
    shown: Counter[tuple[Role, str, Value]] = field(default_factory=Counter)
    _decks: dict[tuple[Role, str], list[Value]] = field(default_factory=dict)

    def deal(self, role: Role) -> Architecture:
        """Returns the next network of a role.

        Raises:
            ValueError: If the blocks that were dealt make no network, whatever their settings.
        """
        dealt: dict[str, Value] = {}
        for attempt in range(TRIES):
            try:
                return decide(self.space, lambda c: self._pick(c, role, dealt, attempt))  # noqa: B023
            except ValueError:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError

    def _pick(self, choice: Choice, role: Role, dealt: dict[str, Value], attempt: int) -> Value:
        if is_block(choice):
            if choice.name not in dealt:
                dealt[choice.name] = self._card(role, choice)
            return dealt[choice.name]
        known = self.extremes.largest if role == "largest" else self.extremes.smallest
        value = known.get(choice.name)
        if role != "random" and attempt == 0 and value in choice.values:
            return value
        return self.rng.choice(choice.values)

    def _card(self, role: Role, choice: Choice) -> Value:
        deck = self._decks.setdefault((role, choice.name), [])
        if not deck:
            deck.extend(self.rng.sample(choice.values, len(choice.values)))
        card = deck.pop()
        self.shown[role, choice.name, card] += 1
        return card
