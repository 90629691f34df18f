"""Places: where a search has its candidates evaluated, this machine or a cluster.

The search itself is the same everywhere: it checks the place, makes its run, opens the place, and
submits candidates to what it finds there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from latency_models.prediction.predictor import Predictor
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import Instruments, make_source, needs_latency
from nas.evaluation.latency import NetworkTimer, hurry
from nas.evaluation.processes import local_training, local_workers, supernet_here
from nas.evaluation.workers import Workers, do_nothing
from nas.models.given.setting import load_whole_setting
from nas.problem.records import RunConfig
from nas.problem.search_problem import Setting
from nas.runs.folder import RunFolder
from nas.training.supernet.training import SupernetPlan, SupernetReport


class TrainSupernet(Protocol):
    """Trains the shared weights of a plan somewhere."""

    def __call__(
        self,
        plan: SupernetPlan,
        on_epoch: Callable[[SupernetReport], None],
        may_go_on: Callable[[], bool],
        /,
    ) -> bytes | None:
        """Returns their file; None where it was stopped, to be taken up again.

        Raises: as `nas.training.supernet.training.train_supernet`.
        """
        ...


def no_supernet(
    plan: SupernetPlan,
    on_epoch: Callable[[SupernetReport], None],
    may_go_on: Callable[[], bool],
    /,
) -> bytes | None:
    raise AssertionError("this place trains no supernet")


@dataclass(frozen=True, slots=True)
class OpenPlace:
    """What a search finds in a place that is open.

    Attributes:
        workers: Evaluate candidates and file what they find in the run folder.
        measurer: Measures the final front, and kernels where useless precisions are looked for;
            idle until it is asked.
        description: Where candidates are evaluated, for people; workers that are `Watched` say
            more.
        hurry: Lets nothing wait for a quiet machine any more; another thread may call it.
        train_supernet: Trains the weights that all networks share, for searches that do.
    """

    workers: Workers
    measurer: NetworkTimer
    description: str = "elsewhere"
    hurry: Callable[[], None] = do_nothing
    train_supernet: "TrainSupernet" = no_supernet


class Place(Protocol):
    """Where candidates are evaluated."""

    @property
    def is_here(self) -> bool:
        """Whether this machine measures, where the run's device is no remote one."""
        ...

    def prepare(self, config: RunConfig, /) -> Setting:
        """Loads what the search works on, and sees to it that the place can work on the same.

        Nothing is written or spent yet.

        Raises:
            UserError: If the data cannot be had, here or there, or the place cannot.
        """
        ...

    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> AbstractContextManager[OpenPlace]:
        """Opens the place for one search; leaving the block ends all that was started there.

        Where the block is left by an exception (a second ``Ctrl-C``, for one), what is running is
        ended at once. The run's lock is held all the while.

        Args:
            model: Predicts latencies, where the configuration asks for that.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """This process, or as many processes of this machine as the configuration says.

    Attributes:
        instruments: What latencies are found out with.
    """

    instruments: Instruments

    @property
    def is_here(self) -> bool:
        return True

    def prepare(self, config: RunConfig, /) -> Setting:
        return load_whole_setting(config)

    @contextmanager
    def open(
        self, config: RunConfig, run: RunFolder, setting: Setting, model: Predictor | None, /
    ) -> Iterator[OpenPlace]:
        with ExitStack() as resources:
            measurer = resources.enter_context(self.instruments.measurer(config))
            evaluator = None
            if config.search.workers == 1:
                needed = needs_latency(config)
                source = make_source(config, run, measurer, model) if needed else None
                training = local_training(config, run, setting)
                evaluator = Evaluator(config, training, source, run)
            local = local_workers(config, run, evaluator, self.instruments)
            count = config.search.workers
            description = "this process" if count == 1 else f"{count} processes"
            workers = resources.enter_context(local)

            def hurry_all() -> None:
                hurry(measurer)
                workers.hurry()

            train = partial(supernet_here, run)
            yield OpenPlace(workers, measurer, description, hurry_all, train)
