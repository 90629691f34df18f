"""Closest: where nothing is feasible, what comes nearest to it, and what it breaks by how much."""

from collections.abc import Sequence

from nas.runs.evaluation import Evaluation


def why_nothing(evaluated: Sequence[tuple[str, Evaluation]]) -> str:
    """Returns in one line that nothing is feasible, and of what comes nearest why it is not.

    Nearest is what exceeds its limits least, as shares of them; what failed without breaking a
    constraint is named only where nothing broke one.

    Args:
        evaluated: Names of what was evaluated, and what was found out.
    """
    said = "no feasible architecture was found yet"
    broken = [(name, each) for name, each in evaluated if excess(each) > 0 and each.reason]
    if broken:
        name, nearest = min(broken, key=lambda pair: excess(pair[1]))
        return f"{said}; the closest is {name}: {nearest.reason}"
    failed = [(name, each) for name, each in evaluated if each.status == "infeasible"]
    return f"{said}; {failed[-1][0]} is not: {failed[-1][1].reason}" if failed else said


def excess(evaluation: Evaluation) -> float:
    return sum(max(0.0, each) for each in evaluation.violations.values())
