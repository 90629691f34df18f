"""Earlier runs are heard as far as the trials here agree with them, and not where they mislead."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from nas.problem.metrics import METRICS
from nas.runs.findings.earlier_run import ABSENT, EarlierRun
from nas.search.proposals.learning.covariance import Array
from nas.search.proposals.learning.earlier_beliefs import EarlierBeliefs
from nas.search.proposals.learning.gene_codes import Codes, GeneCodes
from nas.search.proposals.learning.losses import (
    LossRegression,
    LossShape,
    likeliest_shape,
    regressed,
)
from nas.search.proposals.learning.transfer import Expert, heeding, prior_of
from search_spaces.building.choice import Value

ACCURACY = METRICS["accuracy"]
GENES = {f"gene{at}": ("a", "b", "c") for at in range(8)}


def codes_of(choices: Mapping[str, Sequence[Value]]) -> GeneCodes:
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in choices.values()])])
    return GeneCodes({name: tuple(values) for name, values in choices.items()}, offsets)


HERE = codes_of(GENES)


def earlier(
    codes: Codes, values: Array, choices: Mapping[str, tuple[Value, ...]] = GENES
) -> EarlierRun:
    return EarlierRun("before", choices, codes, {"accuracy": values})


def expert(run: EarlierRun, choices: Mapping[str, Sequence[Value]] = GENES) -> Expert:
    found = EarlierBeliefs(run, [ACCURACY]).expert(ACCURACY, codes_of(choices))
    assert found is not None
    return found


class World:
    """Accuracies of 3^8 architectures by genes and pairs of them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.single = self.rng.normal(size=24)
        self.pairs = np.triu(self.rng.normal(size=(24, 24)), 1) * 0.3

    def drawn(self, count: int) -> tuple[Codes, Array]:
        """Returns codes, and what they are worth."""
        codes = self.rng.integers(3, size=(count, 8))
        hot = HERE.one_hot(codes)
        return codes, hot @ self.single + np.einsum("ni,ij,nj->n", hot, self.pairs, hot)


def alone(hot: Array, losses: Array) -> LossShape:
    return likeliest_shape(HERE.columns, hot, losses)


def heard(codes: Codes, losses: Array, experts: Sequence[Expert]) -> LossRegression:
    hot = HERE.features(codes)
    shape = heeding(alone(hot, losses), HERE.columns, hot, losses, experts)
    return regressed(shape, HERE.columns, hot, losses, prior_of(shape, experts))


def slopes(codes: Codes, losses: Array, experts: Sequence[Expert]) -> tuple[float, ...]:
    hot = HERE.features(codes)
    return heeding(alone(hot, losses), HERE.columns, hot, losses, experts).slopes


def error(regression: LossRegression, codes: Codes, losses: Array) -> float:
    mean = regression.mean_at(HERE.features(codes))
    return float(np.sqrt(np.mean((mean - losses) ** 2)))


@pytest.mark.parametrize("scale", [0.02, 1.0, 50.0])
def test_a_run_that_agrees_but_for_scale_and_offset_says_what_is_not_tried_yet(
    scale: float,
) -> None:
    world = World(0)
    before, here, asked = world.drawn(120), world.drawn(15), world.drawn(300)
    losses, unseen = 7 - scale * here[1], 7 - scale * asked[1]

    by_itself = heard(here[0], losses, [])
    taught = heard(here[0], losses, [expert(earlier(*before))])

    assert by_itself.prior is None
    assert taught.prior is not None
    assert error(taught, asked[0], unseen) < 0.6 * error(by_itself, asked[0], unseen)


def test_what_misleads_is_seldom_heard_and_then_softly() -> None:
    listened, worse = 0, []
    for seed in range(12):
        world = World(seed)
        codes, values = world.drawn(60)
        misleading = expert(earlier(codes, world.rng.permutation(values)))
        here, asked = world.drawn(20), world.drawn(300)
        taught = heard(here[0], -here[1], [misleading])
        listened += taught.prior is not None
        before = error(heard(here[0], -here[1], []), asked[0], -asked[1])
        worse.append(error(taught, asked[0], -asked[1]) / before)

    assert listened <= 3
    assert np.mean(worse) < 1.05


def test_a_run_that_says_the_opposite_is_not_heard() -> None:
    world = World(3)
    codes, values = world.drawn(120)
    here = world.drawn(30)

    assert slopes(here[0], -here[1], [expert(earlier(codes, -values))]) == ()


def test_of_two_runs_the_one_that_agrees_is_heard() -> None:
    world, other = World(5), World(6)
    here = world.drawn(25)
    good, bad = expert(earlier(*world.drawn(120))), expert(earlier(*other.drawn(120)))

    found = slopes(here[0], -here[1], [bad, good])

    assert found[0] == 0
    assert found[1] > 0


def test_what_is_believed_is_the_prior_and_the_regression_of_what_is_left() -> None:
    world = World(1)
    teacher, here, asked = expert(earlier(*world.drawn(60))), world.drawn(20), world.drawn(30)
    hot, new, losses = HERE.features(here[0]), HERE.features(asked[0]), -here[1]
    shape = heeding(alone(hot, losses), HERE.columns, hot, losses, [teacher])
    found = heard(here[0], losses, [teacher])

    posterior = found.posterior(new)
    mean, deviation = posterior.mean, posterior.deviation

    (slope,) = shape.slopes
    kernel = shape.likeness.on(HERE.columns, hot)
    inverse = np.linalg.inv(kernel.between(hot, hot) + kernel.noise * np.eye(20))
    left = losses - slope * teacher.says(hot)
    between = kernel.between(new, hot)
    centre = left.mean()
    expected = slope * teacher.says(new) + centre + between @ inverse @ (left - centre)
    assert mean == pytest.approx(expected, abs=1e-6)
    further = found.believing(new[:3])  # what is left is expected elsewhere on average
    assert further.mean_at(new) == pytest.approx(mean, abs=0.02)
    assert (further.posterior(new).deviation <= deviation + 1e-9).all()


def test_genes_are_known_by_name_and_value_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    choices: dict[str, tuple[Value, ...]] = {"width": (8, 16, 24), "block": ("fire", "plain")}
    codes = np.stack([rng.integers(3, size=40), rng.integers(2, size=40)], axis=1)
    run = earlier(codes, codes[:, 0] / 10 + codes[:, 1] / 3, choices)
    here: dict[str, tuple[Value, ...]] = {
        "block": ("plain", "fire"),
        "other": (1, 2),
        "width": (24, 8, 16, 99),
    }
    beliefs = EarlierBeliefs(run, [ACCURACY])
    teacher = expert(run, here)
    written = codes_of(here)

    def says(**genes: Value) -> float:
        return float(teacher.says(written.one_hot(written.encode([genes])))[0])

    direct = teacher.regression.inner.mean_at(beliefs.rows[:5])
    for at in range(5):
        genes = run.genes(at)
        assert says(**genes) == pytest.approx(direct[at])
        assert says(**genes, other=1) == pytest.approx(direct[at])  # unknown there: says nothing
    assert says(width=24, block="plain") < says(width=8, block="fire")
    # A value that is unknown there is as far from all that is known.
    unknown = np.zeros((1, 7))
    unknown[0, [3, 5]] = 1  # the column of no known width, and "plain"
    expected = float(teacher.regression.inner.mean_at(unknown)[0])
    assert says(width=99, block="plain") == pytest.approx(expected)


def test_a_run_that_knows_too_little_of_a_metric_says_nothing_of_it() -> None:
    codes, values = World(0).drawn(10)
    few = np.where(np.arange(10) < 2, values, np.nan)
    for told in (np.full(10, np.nan), np.full(10, 0.5), few):
        beliefs = EarlierBeliefs(earlier(codes, told), [ACCURACY, METRICS["latency_ms"]])

        assert beliefs.expert(ACCURACY, HERE) is None
        assert beliefs.expert(METRICS["latency_ms"], HERE) is None


def test_genes_that_an_earlier_architecture_had_not_are_in_common_with_none() -> None:
    run = EarlierRun(
        "before",
        {"kind": ("long", "wide"), "kernel": (1, 3)},
        np.array([[0, ABSENT], [1, 0], [1, 1]]),
        {"accuracy": np.array([0.1, 0.2, 0.3])},
    )

    rows = EarlierBeliefs(run, [ACCURACY]).rows

    assert rows.tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0]]
    assert [run.genes(at) for at in range(2)] == [{"kind": "long"}, {"kind": "wide", "kernel": 1}]
