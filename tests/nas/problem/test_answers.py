"""What a network answers per class, held against scikit-learn and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from nas.problem.answers import (
    Confusion,
    confusion_from_json,
    confusion_to_json,
    wilson,
)
from nas.problem.metrics import METRICS, QUALITIES

ALWAYS_LARGEST = Confusion(2, ((0, 0, 38), (1, 0, 2)))


def drawn(seed: int, num_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels of every class, some rare, and answers that are right more often than not."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(num_classes))
    labels = np.concatenate([np.arange(num_classes), rng.choice(num_classes, 60, p=shares)])
    wrong = rng.integers(num_classes, size=len(labels))
    return labels, np.where(rng.random(len(labels)) < 0.6, labels, wrong)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    labels, answers = drawn(seed)
    matrix = confusion_matrix(labels, answers)

    found = Confusion.of(matrix)

    assert np.array_equal(found.matrix, matrix)
    assert found.accuracy == pytest.approx(np.mean(labels == answers), rel=1e-6)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro"))
    np.testing.assert_allclose(found.recalls, recall_score(labels, answers, average=None))
    assert found.scores.keys() == {metric.name for metric in QUALITIES}


def test_a_class_without_images_counts_in_no_mean() -> None:
    found = Confusion(3, ((0, 0, 1), (0, 1, 1), (1, 1, 4)))

    assert found.recalls[:2].tolist() == [0.5, 1.0]
    assert math.isnan(found.recalls[2])
    assert found.balanced_accuracy == 0.75
    assert found.macro_f1 == pytest.approx((2 / 3 + 8 / 9) / 2)


def test_one_answer_to_everything_is_known_for_what_it_is() -> None:
    assert ALWAYS_LARGEST.only_answer == 0
    assert Confusion(2, ((0, 0, 38), (1, 0, 1), (1, 1, 1))).only_answer is None
    assert ALWAYS_LARGEST.accuracy == pytest.approx(0.95)
    assert ALWAYS_LARGEST.balanced_accuracy == 0.5


@pytest.mark.parametrize(("right", "total"), [(0, 7), (7, 7), (38, 40), (1, 1), (500, 1000)])
def test_the_interval_of_an_accuracy_is_that_of_scipy(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(method="wilson")

    found = wilson(right / total, total)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.holds(right / total)


def test_the_interval_of_a_balanced_accuracy_holds_the_true_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    sizes, true = np.array([200, 30, 10]), np.array([0.9, 0.8, 0.6])
    held = 0
    for _ in range(1000):
        hits = rng.binomial(sizes, true)
        cells = [(k, k, int(n)) for k, n in enumerate(hits) if n]
        cells += [(k, (k + 1) % 3, int(n)) for k, n in enumerate(sizes - hits) if n]
        interval = Confusion(3, tuple(sorted(cells))).interval(METRICS["balanced_accuracy"])
        assert interval is not None
        held += interval.holds(true.mean())
    assert 930 < held < 980


def test_macro_f1_has_no_interval() -> None:
    assert ALWAYS_LARGEST.interval(METRICS["macro_f1"]) is None


def test_a_confusion_comes_back_from_json() -> None:
    sent = Confusion.of(confusion_matrix(*drawn(0)))

    assert confusion_from_json(confusion_to_json(sent)) == sent


@pytest.mark.parametrize("cells", ["", "0:1", "0:3:1", "-1:0:1", "0:0:0", "0:0:x"])
def test_cells_that_are_none_are_refused(cells: str) -> None:
    with pytest.raises(ValueError, match=r"confusion|int\(\)"):
        confusion_from_json({"num_classes": 3, "class:answer:count": cells})
