"""Peers propose rows of a table, where they are installed; else one line says what is missing."""

from importlib.util import find_spec
from itertools import islice, product

import numpy as np
import pytest

from benchmarks.search_efficiency.peers import PEERS, installed, one_hot
from benchmarks.search_efficiency.table import Table
from search_spaces.graphs.errors import UserError

NEEDS = {"botorch qNEHVI": "botorch", "smac ParEGO": "smac"}


@pytest.fixture(scope="module")
def table() -> Table:
    genes = list(product("012", repeat=4))
    codes = np.array(genes, dtype=float)
    values = np.column_stack([0.5 + codes @ [0.04, 0.03, 0.02, 0.01], 1 + codes.sum(axis=1)])
    return Table("sums", tuple(genes), values)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_proposes_rows_or_says_in_one_line_what_to_install(table: Table, name: str) -> None:
    if find_spec(NEEDS[name]) is None:
        with pytest.raises(UserError, match=f"is not installed .*; pip install {NEEDS[name]}"):
            next(iter(PEERS[name](table, 0)))
        return
    rows = list(islice(PEERS[name](table, 0), 26))

    assert set(rows) <= set(range(81))
    assert len(set(rows)) > 20
    assert rows == list(islice(PEERS[name](table, 0), 26))


def test_what_is_not_installed_is_named_with_its_project() -> None:
    with pytest.raises(
        UserError, match=r"nowhere\.deep is not installed .*; pip install nowhere,"
    ):
        installed("nowhere.deep")


def test_genes_are_one_hot_in_the_order_of_their_values(table: Table) -> None:
    hot = one_hot(table)

    assert hot.shape == (81, 12)
    assert hot.sum(axis=1) == pytest.approx(4)
    assert hot[0] == pytest.approx([1, 0, 0] * 4)
    assert hot[5] == pytest.approx([1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1])
