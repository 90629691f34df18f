"""Where nothing is feasible, what comes nearest is named with what it lacks."""

from dataclasses import replace

from nas.runs.closest import why_nothing
from nas.runs.evaluation import Evaluation

RULE = "params <= 418"
NEAR = Evaluation(
    "a", "infeasible", f"{RULE} is violated by 8 (426)", {"params": 426.0}, {RULE: 8 / 418}
)
FAR = replace(NEAR, hash="b", violations={RULE: 2.0}, reason=f"{RULE} is violated by 836 (1254)")
DIVERGED = Evaluation("c", "infeasible", "training diverged", {"params": 90.0}, {RULE: -0.8})


def test_the_nearest_is_what_exceeds_its_limits_least() -> None:
    said = why_nothing([("trial 0", FAR), ("trial 1", DIVERGED), ("trial 2", NEAR)])

    assert said == (
        "no feasible architecture was found yet; the closest is trial 2: params <= 418 is "
        "violated by 8 (426)"
    )


def test_what_failed_by_itself_is_named_where_nothing_broke_a_bound() -> None:
    assert why_nothing([("trial 1", DIVERGED)]).endswith("yet; trial 1 is not: training diverged")
    assert why_nothing([]) == "no feasible architecture was found yet"
