"""Stop rules: how much accuracy may be lost, and what is enough."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from nas.problem.metrics import Constraint
from search_spaces.graphs.errors import UserError

LARGEST_SHARE = 0.2  # whoever writes more means points
ROUNDING = 1e-6


def drop_of(value: Any) -> Any:  # noqa: ANN401  (checked here)
    """Returns a largest drop of accuracy as a share of the images.

    >>> drop_of(0.005), drop_of("0.5 points"), drop_of("1 point")
    (0.005, 0.005, 0.01)

    Raises:
        UserError: If it is neither such a share nor so many points.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*points?\s*", value)
        if found is None or float(found[1]) > 100:
            raise UserError(
                "a largest drop of accuracy must be a share of the images, such as 0.005, or read "
                f"'0.5 points', got {value[:40]!r}"
            )
        return float(found[1]) / 100
    if isinstance(value, int | float) and not 0 <= value <= LARGEST_SHARE:
        points = f"; {value:g} points are written '{value:g} points'" if value > 0 else ""
        raise UserError(
            "a largest drop of accuracy must be a share of the images from 0 to "
            f"{LARGEST_SHARE:g} (one point is 0.01), got {value:g}{points}"
        )
    return value


Drop = Annotated[float, BeforeValidator(drop_of)]


@dataclass(frozen=True, slots=True)
class StopRules:
    """When a compression ends, or leaves out what compresses further.

    Attributes:
        max_accuracy_drop: What validation accuracy may fall by from the original's, as a share;
            None takes what comes.
        until: What is enough: once all of it holds, nothing more is cut.
    """

    max_accuracy_drop: float | None = None
    until: tuple[Constraint, ...] = ()

    def is_broken(self, original: float, accuracy: float) -> bool:
        """Whether accuracy has fallen too far; the last bits of a float32 are no drop."""
        most = self.max_accuracy_drop
        return most is not None and original - accuracy > most + ROUNDING

    def is_enough(self, values: Mapping[str, float]) -> bool:
        """Whether all of ``until`` holds; what is not known does not."""
        return bool(self.until) and all(
            rule.metric.name in values and rule.violation(values[rule.metric.name]) <= 0
            for rule in self.until
        )


def unknown(rules: Sequence[Constraint], values: Mapping[str, float]) -> list[str]:
    """Returns the rules of which nothing is known."""
    return [str(rule) for rule in rules if rule.metric.name not in values]
