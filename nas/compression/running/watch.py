"""Watch: what a compression under way tells, and how long it will take."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from nas.compression.running.records import StepRecord
from nas.training.loop import EpochReport


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch of a step's training.

    Attributes:
        what: Which of the step's trainings; "" where there is one.
        left_s: Seconds that the rest of the recipe's trainings takes, as far as can be told.
    """

    title: str
    what: str
    report: EpochReport
    left_s: float


@dataclass(frozen=True, slots=True)
class CompressionWatch:
    """Whom a compression tells what it does."""

    say: Callable[[str], None] = lambda text: None
    on_step: Callable[[str], None] = lambda title: None
    on_epoch: Callable[[EpochDone], None] = lambda epoch: None
    on_over: Callable[[StepRecord], None] = lambda record: None


@dataclass(slots=True)
class TimeLeft:
    """What is left to train, by what epochs were expected to take and what they have taken.

    Attributes:
        expected: Seconds an epoch and how many, of each training of each step by its number.
    """

    expected: dict[int, list[tuple[float, int]]]
    clock: Callable[[], float] = monotonic
    _begun: float = field(default=0.0, init=False)
    _ratio: float = field(default=1.0, init=False)

    def begin(self) -> None:
        """Says that a training begins."""
        self._begun = self.clock()

    def after(self, number: int, index: int, done: int, run_here: int) -> float:
        """Returns the seconds left.

        Args:
            index: Of the training in the step.
            done: Epochs of it that are done.
            run_here: Those of them that this process ran.
        """
        ours = self.expected.get(number, [])
        each, epochs = ours[min(index, len(ours) - 1)] if ours else (0.0, done)
        taken = (self.clock() - self._begun) / run_here
        if each:
            self._ratio = taken / each
        rest = sum(s * n for s, n in ours[index + 1 :])
        later = (found for step, found in self.expected.items() if step > number)
        rest += sum(s * n for trainings in later for s, n in trainings)
        return taken * (epochs - done) + rest * self._ratio
