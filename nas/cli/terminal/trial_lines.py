"""Lines of a search: one for each trial as it ends, under a head that says what they hold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cli.terminal.numbers import metric
from nas.problem.formatting import duration

if TYPE_CHECKING:
    from nas.problem.records import RunConfig
    from nas.search.loop import Progress

NAME, VALUE, TOOK = 22, 10, 12  # letters


@dataclass(frozen=True, slots=True)
class TrialLines:
    """What a search prints.

    Attributes:
        metrics: The columns between the trial's name and the time that it took.
    """

    metrics: tuple[str, ...]

    @property
    def head(self) -> str:
        names = "".join(f"  {name:>{width(name)}}" for name in self.metrics)
        return f"{'trial':<{NAME}}{names}{'took':>{TOOK + 2}}"

    def line(self, progress: "Progress") -> str:
        """Returns the line of a trial that ended; what is not known of it is a dash."""
        from nas.study.stopping import why_unfinished

        evaluation = progress.evaluation
        values = {
            name: evaluation.mark(name) + metric(name, value)
            for name, value in evaluation.values.items()
        }
        cells = "".join(f"  {values.get(name, '-'):>{width(name)}}" for name in self.metrics)
        took, why = duration(sum(evaluation.seconds.values())), why_unfinished(evaluation)
        return f"{progress.name:<{NAME}}{cells}  {took:>{TOOK}}{'  ' * bool(why)}{why}"


def trial_lines(config: "RunConfig", room: int | None) -> TrialLines:
    """Returns the lines of a search: its objectives, and costs as far as there is room.

    Args:
        room: Letters of a terminal's line; None in a pipe.
    """
    aims = [each.name for each in config.objectives]
    bounded = [rule.metric.name for rule in config.constraints]
    names = list(dict.fromkeys([*aims, *bounded, "macs", "params"]))
    while room is not None and len(names) > len(aims) and needed(names) > room:
        names.pop()
    return TrialLines(tuple(names))


def needed(names: list[str]) -> int:
    return NAME + sum(2 + width(name) for name in names) + TOOK + 2


def width(name: str) -> int:
    return max(VALUE, len(name))
