"""Ties: which channels of a network go together, as sets that are joined.

A channel is a number, an atom. Joined atoms are removed together or not at all; those joined with
``STAYS`` are never removed.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Atoms = NDArray[np.int64]
STAYS = 0


class Ties:
    """Disjoint sets of atoms."""

    def __init__(self) -> None:
        self.parent = [STAYS]

    def new(self, count: int) -> Atoms:
        """Returns so many atoms that are tied to nothing."""
        first = len(self.parent)
        self.parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, left: Atoms, right: Atoms) -> None:
        """Ties each atom of one array to that of the other; the earlier one stands for both."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self.root(a), self.root(b)))
            self.parent[high] = low

    def keep(self, atoms: Atoms) -> None:
        """Ties atoms to what stays."""
        self.join(atoms, np.full_like(atoms, STAYS))

    def root(self, atom: int) -> int:
        while self.parent[atom] != atom:
            self.parent[atom] = self.parent[self.parent[atom]]
            atom = self.parent[atom]
        return atom

    def roots(self, atoms: Atoms) -> Atoms:
        """Returns the atom that stands for the set of each one, in the same shape."""
        found = [self.root(atom) for atom in atoms.ravel().tolist()]
        return np.array(found, np.int64).reshape(atoms.shape)

    def balance(self, rows: Atoms) -> None:
        """Joins sets until each of them that can go has as many atoms in every row (G, n).

        So whatever goes, rows stay of one length. Sets that are balanced already stay apart;
        others are joined one by one with whatever evens out their rows best. Joining balanced
        sets further, for other rows, leaves them balanced, so that rows are seen to one by one.
        """
        waiting = self.uneven(rows)
        while waiting:
            excess = next(iter(waiting))
            joined = [take(waiting, excess)]
            total = np.array(excess)
            while np.ptp(total) and waiting:
                kinds = np.array(list(waiting))
                excess = tuple(kinds[np.var(total + kinds, axis=1).argmin()].tolist())
                joined.append(take(waiting, excess))
                total = total + excess
            others = np.array(joined)
            self.join(others, np.full_like(others, STAYS if np.ptp(total) else joined[0]))

    def uneven(self, rows: Atoms) -> dict[tuple[int, ...], list[int]]:
        """Returns the sets that are not balanced, by how many atoms too many each row has."""
        roots, places = np.unique(self.roots(rows), return_inverse=True)
        counts = np.zeros((len(roots), len(rows)), np.int64)
        np.add.at(counts, (places.reshape(rows.shape), np.arange(len(rows))[:, None]), 1)
        excess = counts - counts.min(1, keepdims=True)
        found: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for root, row in zip(roots.tolist(), excess.tolist(), strict=True):
            if any(row) and root != STAYS:
                found[tuple(row)].append(root)
        return {row: sets[::-1] for row, sets in found.items()}  # the first one is taken first


def take(waiting: dict[tuple[int, ...], list[int]], excess: Sequence[int]) -> int:
    """Takes out the next set of a kind, and the kind when it was the last one."""
    sets = waiting[tuple(excess)]
    root = sets.pop()
    if not sets:
        del waiting[tuple(excess)]
    return root
