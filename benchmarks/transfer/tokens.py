"""Features of architectures that are written as strings: which operator stands where.

Blocks of features go from coarse to fine. The coarse one counts every operator; the fine one says
which position holds which, and has the products of two counts. In a cell of NAS-Bench-201's form,
``|op~input|+|op~input|op~input|``, operators are also counted among the *live* ones: those between
input and output that no ``none`` cuts off, because some runtimes drop the others.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.graphs.errors import UserError

Array = NDArray[np.float64]

CELL = re.compile(r"(\|([^|~+]+~\d+\|)+)(\+\|([^|~+]+~\d+\|)+)*")
SEPARATORS = re.compile(r"[^A-Za-z0-9_~.-]+")
ZERO = "none"  # NAS-Bench-201's name of an edge without an operator
MAX_PAIRED = 16  # counts; the products of more would be too many to fit
MAX_TOKENS = 64  # different tokens at one position; more are numbers or names, not choices


def token_features(names: Sequence[str]) -> tuple[Array, Array]:
    """Returns (N, P) counts of operators and (N, Q) finer features, for N names.

    A name is a cell, tokens between separators such as ``3, 0, 5``, or digits (``22212202``).
    Features that are equal in all names are left out.

    Raises:
        UserError: If the names are not made of a few tokens that occur again and again.

    >>> counts, fine = token_features(["2, 0, 2", "0, 0, 2", "2, 2, 2"])
    >>> counts.tolist()
    [[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]]
    """
    cells = all(CELL.fullmatch(name) for name in names)
    rows = [_cell_tokens(name) if cells else _tokens(name) for name in names]
    width = max(map(len, rows), default=0)
    if not width:
        raise UserError("no name of an architecture holds a token; give features")
    # Names of several lengths differ in depth: what is missing is a token as well.
    table = np.array([row + [""] * (width - len(row)) for row in rows])
    for position, column in enumerate(table.T):
        if len(np.unique(column)) > MAX_TOKENS:
            raise UserError(
                f"position {position} of the architectures' names holds more than {MAX_TOKENS} "
                f"different tokens, for example {column[0]!r}; give features"
            )
    live = np.array([_live(name) for name in names]) if cells else None
    kinds = np.unique(table)
    hits = table[:, :, None] == kinds  # (N, position, kind)
    counts, positions = [hits.sum(1)], [hits.reshape(len(table), -1)]
    if live is not None:
        hits = hits & live[:, :, None]
        counts.append(hits.sum(1))
        positions.append(hits.reshape(len(table), -1))
    coarse, fine = _varying(np.concatenate(counts, 1)), _varying(np.concatenate(positions, 1))
    return coarse, np.concatenate([fine, _pairs(coarse)], 1)


def _varying(features: NDArray[np.generic]) -> Array:
    columns = features.astype(np.float64)
    return np.unique(columns[:, np.ptp(columns, axis=0) > 0], axis=1)


def _pairs(counts: Array) -> Array:
    if counts.shape[1] > MAX_PAIRED:
        return np.zeros((len(counts), 0))
    standard = (counts - counts.mean(0)) / counts.std(0)
    first, second = np.triu_indices(counts.shape[1])
    return standard[:, first] * standard[:, second]


def _tokens(name: str) -> list[str]:
    found = [token for token in SEPARATORS.split(name) if token]
    return list(found[0]) if len(found) == 1 and found[0].isdigit() else found


def _cell(name: str) -> list[list[tuple[str, int]]]:
    """For every node but the first: operator and input node of each edge."""
    nodes = [part.strip("|").split("|") for part in name.split("+")]
    return [
        [(op, int(source)) for op, _, source in (edge.partition("~") for edge in node)]
        for node in nodes
    ]


def _cell_tokens(name: str) -> list[str]:
    return [op for node in _cell(name) for op, _ in node]


def _live(name: str) -> list[bool]:
    """For every edge, whether it lies on a way from the first to the last node."""
    nodes = _cell(name)
    reached, needed = {0}, {len(nodes)}
    for index, node in enumerate(nodes, 1):
        if any(op != ZERO and source in reached for op, source in node):
            reached.add(index)
    for index in range(len(nodes), 0, -1):
        if index in needed:
            needed |= {source for op, source in nodes[index - 1] if op != ZERO}
    return [
        op != ZERO and source in reached and index in needed
        for index, node in enumerate(nodes, 1)
        for op, source in node
    ]
