"""What the tests of compression share: digits, loaded once."""

import pytest

from nas.data.sources.registry import load, make_source
from nas.data.splits import Splits, split
from nas.data.tensors import TensorSplit, place


@pytest.fixture(scope="session")
def digits_splits() -> Splits:
    return split(load(make_source("digits")).data, seed=0)


@pytest.fixture(scope="session")
def digits_split(digits_splits: Splits) -> TensorSplit:
    return place(digits_splits).train
