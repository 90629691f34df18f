"""Codes are read back, and features count what genes of a kind have in common."""

import numpy as np
import pytest

from nas.search.proposals.learning.gene_codes import ABSENT, GeneCodes
from search_spaces.building.choice import Value


def codes_of(values: dict[str, tuple[Value, ...]]) -> GeneCodes:
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values.values()])])
    return GeneCodes(values, offsets.astype(np.int64))


KERNELS = codes_of({"a": (3, 5), "depth": (1, 2, 3), "b": (5, 3), "c": (3, 5)})


def test_genes_that_offer_the_same_values_are_of_a_kind_in_whatever_order() -> None:
    assert KERNELS.kinds == ((0, 2, 3),)
    assert codes_of({"a": (3, 5), "b": (3, 7)}).kinds == ()


def test_features_are_one_hot_genes_and_how_often_a_kind_has_each_value() -> None:
    genes = [{"a": 3, "depth": 2, "b": 3, "c": 5}, {"a": 5, "depth": 1}]

    features = KERNELS.features(KERNELS.encode(genes))

    counts = [[2, 1], [0, 1]]  # of 3 and of 5
    assert features[:, -2:] == pytest.approx(np.array(counts) / np.sqrt(3))
    assert features[:, :-2].sum(axis=1) == pytest.approx([4, 2])
    assert KERNELS.columns.tolist() == [0, 0, 2, 2, 2, 4, 4, 6, 6, 1, 1]


def test_scales_keep_their_numbers_when_genes_are_added() -> None:
    fewer = codes_of({name: KERNELS.values[name] for name in ("a", "depth")})

    assert fewer.columns.tolist() == KERNELS.columns.tolist()[:5]


def test_codes_are_read_back() -> None:
    genes = [{"a": 5, "depth": 3, "c": 3}]

    row = KERNELS.encode(genes)[0]

    assert row.tolist() == [1, 2, ABSENT, 0]
    assert KERNELS.decode(row) == genes[0]
