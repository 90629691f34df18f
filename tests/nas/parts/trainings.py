"""Small trainings for tests: few digits, a small network, and what it means to end the same."""

from dataclasses import replace

import numpy as np

from nas.data.sources.registry import load, make_source
from nas.data.splits import split
from nas.data.tensors import TensorSplit, TensorSplits, place
from nas.training.loop import TrainingResult
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Add, Conv2d, Dropout, GlobalAvgPool, Linear
from search_spaces.graphs.precision import FP32, Precision
from search_spaces.quantization.reprecision import uniform


def few_digits() -> TensorSplits:
    """96 training images, 32 to validate."""
    digits = place(split(load(make_source("digits")).data, seed=0))
    return replace(digits, train=first(digits.train, 96), validation=first(digits.validation, 32))


def first(part: TensorSplit, number: int) -> TensorSplit:
    return part.take(slice(number))


def dropping_net(precision: Precision = FP32, width: int = 6) -> Graph:
    """A network with norms, a convolution without, a depthwise one, and dropout."""
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3)), net.input)
    y = net.add("first", Conv2d(width, (3, 3), activation="none", groups=width), x)
    x = net.add("sum", Add("relu"), x, y)
    x = net.add("second", Conv2d(12, (3, 3), stride=(2, 2), norm="none", bias=True), x)
    x = net.add("pool", GlobalAvgPool(), x)
    x = net.add("drop", Dropout(0.3), x)
    net.add("logits", Linear(10), x)
    return uniform(net.graph(), precision)


def check_same(ours: TrainingResult, theirs: TrainingResult) -> None:
    """Checks that two trainings came to the same numbers, to the last bit."""
    assert ours.train_loss == theirs.train_loss
    assert ours.validation_accuracy == theirs.validation_accuracy
    assert ours.finished == theirs.finished
    assert ours.confusion == theirs.confusion
    assert ours.model.arrays.keys() == theirs.model.arrays.keys()
    for name, array in ours.model.arrays.items():
        assert np.array_equal(array, theirs.model.arrays[name]), name
