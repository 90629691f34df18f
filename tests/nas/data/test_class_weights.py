"""Class weights are checked as they are read, and count images as they say."""

import math

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from nas.data.class_weights import check_class_weights, class_weights
from search_spaces.graphs.errors import UserError

NAMES, SIZES = ("cat", "dog", "café"), np.array([90, 9, 1])


def test_none_weighs_nothing() -> None:
    assert class_weights("none", NAMES, SIZES) is None


def test_balanced_is_that_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], SIZES)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)

    found = class_weights("balanced", NAMES, SIZES)

    assert found is not None
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "given", ["balanced", [1, 2, 3.5], {"dog": 4}, {"cafe\N{COMBINING ACUTE ACCENT}": 8}]
)
def test_training_images_count_one_on_average(given: object) -> None:
    found = class_weights(given, NAMES, SIZES)  # type: ignore[arg-type]

    assert found is not None
    assert found @ SIZES / SIZES.sum() == pytest.approx(1)


def test_a_class_that_is_not_named_counts_one_of_what_others_count() -> None:
    found = class_weights({"dog": 4}, NAMES, SIZES)

    assert found is not None
    np.testing.assert_allclose(found / found[0], [1, 4, 1])


def test_names_may_be_numbers_as_yaml_reads_them() -> None:
    found = class_weights({1: 3}, ("0", "1"), np.array([5, 5]))

    assert found is not None
    assert found.tolist() == [0.5, 1.5]


def test_a_class_without_training_images_divides_by_no_zero() -> None:
    found = class_weights("balanced", NAMES, np.array([5, 5, 0]))

    assert found is not None
    assert np.isfinite(found).all()


@pytest.mark.parametrize("given", [None, 3, "equal", True])
def test_what_are_no_weights_is_refused(given: object) -> None:
    with pytest.raises(UserError, match="class_weights must be none, balanced, a list"):
        check_class_weights(given)


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf, True, "2"])
def test_a_weight_that_weighs_nothing_is_refused(weight: object) -> None:
    for given in ([1.0, weight], {"cat": weight}):
        with pytest.raises(UserError, match="class_weights must be numbers above 0, got"):
            check_class_weights(given)


def test_other_classes_than_those_of_the_data_are_named() -> None:
    with pytest.raises(UserError, match=r"got 'cow'; they are cat, dog, café"):
        class_weights({"cow": 2}, NAMES, SIZES)
    with pytest.raises(UserError, match=r"one weight a class \(3: cat, dog, café\), got 2"):
        class_weights([1, 2], NAMES, SIZES)
