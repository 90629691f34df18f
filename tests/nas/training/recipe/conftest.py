"""What the tests of recipes share: digits, loaded once."""

import pytest

from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplit, place


@pytest.fixture(scope="session")
def digits_split() -> TensorSplit:
    return place(split(load(make_source("digits")).data, seed=0)).train
