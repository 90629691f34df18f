"""Supernet training: shared weights from examples, to be taken up after any epoch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from time import monotonic

import numpy as np
import torch

from nas.data.tensors import TensorSplits, check_input
from nas.nn.memory import free_bytes, training_bytes
from nas.problem.records import RunConfig
from nas.runs.files import DiskFullError
from nas.training.accuracy import accuracy
from nas.training.checkpoints import Checkpoints
from nas.training.loop import go_on
from nas.training.state import DamagedStateError, data_fingerprint
from nas.training.supernet.slices import sliced
from nas.training.supernet.state import (
    MOMENTS,
    Arrays,
    Belongings,
    SupernetEpoch,
    SupernetState,
    from_bytes,
    to_bytes,
)
from nas.training.supernet.steps import SupernetTrainer
from nas.training.supernet.weights import SharedWeights
from search_spaces.graphs.errors import UserError
from search_spaces.space.dealing import Dealer
from search_spaces.space.extremes import Extremes, extremes_of
from search_spaces.space.space import Architecture, SearchSpace
from search_spaces.space.store import SharedStore, mega, store_of

log = logging.getLogger("nas.search")

COPIES = 4  # of all shared numbers in training: themselves, gradients, two moments


@dataclass(frozen=True)
class SupernetPlan:
    """A space whose networks share weights, and what these are trained on and how."""

    space: SearchSpace
    data: TensorSplits
    config: RunConfig

    @cached_property
    def extremes(self) -> Extremes:
        return extremes_of(self.space)

    @cached_property
    def store(self) -> SharedStore:
        return store_of(self.space, Random(0), self.extremes)

    @cached_property
    def belongs(self) -> Belongings:
        return Belongings.of(
            self.store,
            self.extremes,
            data_fingerprint(self.data),
            self.config.training,
            self.config.search.supernet,
        )

    @cached_property
    def ends(self) -> tuple[Architecture, Architecture]:
        """A largest and a smallest network, whose accuracies tell how training goes."""
        dealer = Dealer(self.space, self.extremes, Random(0))
        return dealer.deal("largest"), dealer.deal("smallest")

    def weights(self, arrays: Arrays | None = None) -> SharedWeights:
        """Returns shared weights: the first ones of the seed, or those that are given."""
        generator = torch.Generator().manual_seed(self.config.training.seed)
        weights = SharedWeights(self.store, generator=generator, device=self.data.train.device)
        if arrays is not None:
            with torch.no_grad():
                for key, parameter in weights.parameters.items():
                    parameter.copy_(torch.from_numpy(np.array(arrays[str(key)])))
        return weights

    def check(self, free: int | None = None) -> None:
        """Makes sure that the weights are not too many.

        Args:
            free: Bytes of memory that are; None asks the machine.

        Raises:
            UserError: If they are; it says what keeps them apart.
        """
        supernet, largest = self.config.search.supernet, self.ends[0].graph
        check_input(self.data.train, largest.input_shape)
        if self.store.num_bytes > supernet.most_mb * 1e6:
            raise UserError(
                f"search.supernet.most_mb (= {supernet.most_mb:g}) must hold the weights that the "
                f"space's networks share, got {self.store.in_one_line()}; offer fewer of these, "
                "raise it, or set search.evaluation to training"
            )
        batch = min(supernet.batch_size, len(self.data.train))
        needed = COPIES * self.store.num_bytes + training_bytes(largest, batch)
        free = free_bytes() if free is None else free
        if self.data.train.device.type == "cpu" and needed > free:
            raise UserError(
                f"a supernet's training must fit in memory, got {mega(needed)} with {mega(free)} "
                f"free; {self.store.in_one_line()}; offer fewer of these, lower "
                "search.supernet.batch_size, or set search.evaluation to training"
            )


@dataclass(frozen=True, slots=True)
class SupernetReport:
    """What is known after an epoch; ``epoch`` counts from 1."""

    epoch: int
    epochs: int
    found: SupernetEpoch
    seconds: float


def ignore(report: SupernetReport) -> None:
    """For trainings that nobody watches."""


def train_supernet(
    plan: SupernetPlan,
    state: SupernetState | None = None,
    *,
    on_state: Callable[[Callable[[], SupernetState]], None] = lambda make: None,
    on_epoch: Callable[[SupernetReport], None] = ignore,
    may_go_on: Callable[[], bool] = lambda: True,
    before_step: Callable[[], None] = go_on,
    clock: Callable[[], float] = monotonic,
) -> SupernetState:
    """Trains the shared weights of a plan; the same seed gives the same on one thread of a CPU.

    Args:
        state: Where to go on.
        on_state: Called after each epoch with what makes its state, moments included.
        may_go_on: Asked after each epoch; where it says no, the state has fewer than all.

    Raises:
        UserError: If they do not fit in memory.
        SupernetFailedError: If too many steps give NaN or infinite numbers.
    """
    plan.check()
    config = plan.config.search.supernet
    epochs = [] if state is None else list(state.epochs)
    start = clock() - (0.0 if state is None else state.seconds)
    weights = plan.weights(None if state is None else state.arrays)
    trainer = SupernetTrainer(
        weights,
        plan.space,
        plan.extremes,
        plan.data.train,
        plan.config.training,
        config,
        before_step,
    )
    if state is not None:
        restore_moments(trainer, state.moments)

    def now() -> SupernetState:
        kept = {} if len(epochs) == config.epochs else moments_of(trainer)
        return SupernetState(arrays_of(weights), kept, tuple(epochs), clock() - start)

    while len(epochs) < config.epochs:
        losses = trainer.run_epoch(len(epochs))
        largest, smallest = (
            accuracy(sliced(weights, each, plan.data.train), plan.data.validation)
            for each in plan.ends
        )
        epochs.append(
            SupernetEpoch(
                largest_loss=losses.largest,
                others_loss=losses.others,
                dropped=losses.dropped,
                largest_accuracy=largest,
                smallest_accuracy=smallest,
            )
        )
        on_epoch(SupernetReport(len(epochs), config.epochs, epochs[-1], clock() - start))
        on_state(now)
        if not may_go_on():
            break
    return now()


def arrays_of(weights: SharedWeights) -> Arrays:
    return {
        str(key): np.array(parameter.detach().cpu().numpy(), order="C")
        for key, parameter in weights.parameters.items()
    }


def moments_of(trainer: SupernetTrainer) -> Mapping[str, Arrays]:
    known = trainer.optimizer.state
    return {
        kind: {
            str(key): np.array(known[parameter][kind].detach().cpu().numpy(), order="C")
            for key, parameter in trainer.weights.parameters.items()
            if parameter in known
        }
        for kind in MOMENTS
    }


def restore_moments(trainer: SupernetTrainer, moments: Mapping[str, Arrays]) -> None:
    for key, parameter in trainer.weights.parameters.items():
        if str(key) in moments.get("step", {}):
            trainer.optimizer.state[parameter] = {
                kind: torch.from_numpy(np.array(moments[kind][str(key)])).to(parameter.device)
                for kind in MOMENTS
            }


def trained_file(
    plan: SupernetPlan,
    checkpoints: Checkpoints,
    *,
    every_s: float,
    on_epoch: Callable[[SupernetReport], None] = ignore,
    may_go_on: Callable[[], bool] = lambda: True,
    before_step: Callable[[], None] = go_on,
) -> bytes | None:
    """Returns the file of a plan's trained weights, taken up where they were; None if stopped.

    Args:
        checkpoints: Where training is kept meanwhile; it is for the caller to drop in the end.
        every_s: Least seconds between two checkpoints.

    Raises: as `train_supernet`.
    """
    key, saved_at = plan.belongs.key, monotonic()

    def save(content: bytes) -> None:
        nonlocal saved_at
        try:
            checkpoints.save(key, content)
        except DiskFullError as error:
            log.warning("the supernet goes on without a new checkpoint: %s", error)
        saved_at = monotonic()

    def save_now_and_then(make: Callable[[], SupernetState]) -> None:
        if monotonic() - saved_at >= every_s:
            save(to_bytes(make(), plan.belongs))

    state = train_supernet(
        plan,
        kept_state(plan, checkpoints),
        on_state=save_now_and_then,
        on_epoch=on_epoch,
        may_go_on=may_go_on,
        before_step=before_step,
    )
    content = to_bytes(state, plan.belongs)
    if len(state.epochs) == plan.config.search.supernet.epochs:
        return content
    save(content)
    return None


def kept_state(plan: SupernetPlan, checkpoints: Checkpoints) -> SupernetState | None:
    """Returns where a training was; None where nothing is kept, or what is kept is damaged."""
    content = checkpoints.load(plan.belongs.key)
    if content is None:
        return None
    try:
        state = from_bytes(content, plan.store, plan.belongs)
    except DamagedStateError as error:
        log.warning("the supernet is trained from the start: %s", error)
        return None
    log.info("the supernet goes on after epoch %d", len(state.epochs))
    return state
