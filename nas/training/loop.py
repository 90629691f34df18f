"""Training: from a graph and data to a model, by one recipe for all networks.

Shape letters: B batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic

import torch
from torch import Tensor

from nas.data.tensors import TensorSplit, TensorSplits, check_input
from nas.nn.calibration import calibrate
from nas.nn.interpreter import Interpreter, model_arrays, to_model
from nas.nn.memory import check_memory, refusing_too_large
from nas.nn.quantized_layers import NoRangeError
from nas.problem.answers import Confusion
from nas.problem.training_config import TrainingConfig
from nas.runs.evaluation import Heritage, WeightsOf
from nas.training.accuracy import confusion
from nas.training.randomness import TorchRandom
from nas.training.recipe.whitening import whiten
from nas.training.state import DamagedStateError, TrainingPhase, TrainingState
from nas.training.trainer import Trainer, TrainingDivergedError, check_output, new_module
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model
from search_spaces.quantization.codes import check_steps, is_coded, snap_weights
from search_spaces.quantization.reprecision import full_precision

CALIBRATION_IMAGES = 512


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What is known after an epoch; ``epoch`` counts from 1, ``seconds`` from the start.

    Attributes:
        scores: On the validation images, by the name of the metric.
    """

    epoch: int
    epochs: int
    train_loss: float
    scores: Mapping[str, float]
    learning_rate: float
    seconds: float

    @property
    def validation_accuracy(self) -> float:
        return self.scores["accuracy"]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained network.

    Attributes:
        model: Its coded weights are on their grids; the real numbers behind them are gone.
        train_loss: Mean over each finished epoch; those in float32 before are left out.
        validation_accuracy: After each finished epoch, in 0..1; none of weights that were given.
        finished: False where the deadline came first, or where it was ended early.
        confusion: On the validation images, after the last finished epoch.
        inherited: What it was trained on from; None where that was nothing.
        weights: Whether they are its own, or began as a slice of a supernet's.
        shared_epochs: For which the supernet was trained, where it is of one.
    """

    model: Model
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    seconds: float
    finished: bool
    confusion: Confusion
    inherited: Heritage | None = None
    weights: WeightsOf = "own"
    shared_epochs: int = 0

    @property
    def epochs_run(self) -> int:
        return len(self.validation_accuracy)

    @property
    def accuracy(self) -> float:
        """Validation accuracy after the last finished epoch, or of weights that were given."""
        return (self.validation_accuracy or (self.confusion.accuracy,))[-1]

    @property
    def scores(self) -> dict[str, float]:
        """Every metric that training finds out, by its name."""
        return self.confusion.scores | {"accuracy": self.accuracy}


def go_on() -> None:
    """For training that nothing has to wait for."""


def always(report: EpochReport) -> bool:
    """For training that nothing ends early."""
    return True


class Training:
    """One training, epoch by epoch; between two of them it can be saved, and taken up elsewhere.

    Torch's own random state is left as it was.

    Args:
        arrays: As for `train`; of no use beside a state.
        teacher: As for `train`; beside a state, the one that was given before.
        state: Where to go on; None starts from the beginning.

    Raises: as `train`, and DamagedStateError if ``state`` does not fit.
    """

    def __init__(
        self,
        graph: Graph,
        data: TensorSplits,
        config: TrainingConfig,
        *,
        arrays: Mapping[str, Array] | None = None,
        teacher: Model | None = None,
        before_step: Callable[[], None] = go_on,
        state: TrainingState | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        check_input(data.train, graph.input_shape)
        check_output(data.train, graph)
        self.graph = graph
        self.data = data
        self.config = config
        self._teacher = teacher
        self._before_step = before_step
        self._clock = clock
        self._first: Model | None = None  # the network trained in float32, where it teaches
        self._confusion: Confusion | None = None  # after the epoch that was run last
        has_float32 = bool(config.fp32_epochs) and any(map(is_coded, graph.nodes))
        self._random = TorchRandom(config.seed, data.train.device)
        with refusing_too_large(graph), self._random.in_place():
            self._check_memory(graph)
            self._start = clock() - (state.seconds if state is not None else 0.0)
            if state is not None:
                self._take_up(state, has_float32)
            elif has_float32 and arrays is None:
                self._begin_float32()
            else:
                self._begin(graph, config, arrays, teacher)
            self._began_s = self.seconds if state is None else state.began_s
        if state is not None:
            self._random.restore(state.torch_random)

    @property
    def is_over(self) -> bool:
        return self.epochs_run == self.config.epochs

    @property
    def epochs_run(self) -> int:
        """Epochs done, those in float32 before left out."""
        return 0 if self.in_float32 else len(self._losses)

    @property
    def in_float32(self) -> bool:
        """Whether the epochs before those of a low-bit network go on."""
        return self._phase == "float32"

    @property
    def seconds(self) -> float:
        """Since the start, those before it was taken up included."""
        return self._clock() - self._start

    def would_end_after(self, deadline_s: float) -> bool:
        """Whether one more epoch, taking as long as those before, would end after the deadline."""
        if not self.epochs_run:
            return False
        now = self.seconds
        return now + (now - self._began_s) / self.epochs_run > deadline_s

    def run_epoch(self) -> EpochReport | None:
        """Trains for an epoch; one in float32, before those that count, has no report.

        Raises: as `train`.
        """
        trainer, epoch = self._trainer, len(self._losses)
        with refusing_too_large(self.graph), self._random.in_place():
            loss = trainer.run_epoch(epoch)
            found = validated(trainer.module, self.data.validation, epoch, trainer)
            self._losses.append(loss)
            self._accuracies.append(found.accuracy)
            self._confusion = found
            if self.in_float32:
                if epoch + 1 == self.config.fp32_epochs:
                    self._end_float32()
                return None
        return EpochReport(
            epoch + 1, self.config.epochs, loss, found.scores, trainer.rate, self.seconds
        )

    def state(self) -> TrainingState:
        """Returns a copy of all that is needed to go on from here."""
        return TrainingState(
            phase=self._phase,
            arrays=model_arrays(self._trainer.module),
            moments=self._trainer.moments(),
            loss_scale=self._trainer.loss_scale(),
            order_random=self._trainer.order_random(),
            torch_random=self._random.state(),
            train_loss=tuple(self._losses),
            validation_accuracy=tuple(self._accuracies),
            seconds=self.seconds,
            began_s=self._began_s,
            teacher=self._first.arrays if self._first is not None else None,
        )

    def result(self) -> TrainingResult:
        """Returns the network as it is now; at least one epoch must have counted.

        Raises:
            NoRangeError: If a step vanished.
        """
        assert self.epochs_run
        trainer = self._trainer
        with refusing_too_large(self.graph):
            if self._confusion is None:  # it was taken up after its last epoch
                epoch = len(self._losses) - 1
                self._confusion = validated(trainer.module, self.data.validation, epoch, trainer)
            model = finished_model(trainer.module)
        return TrainingResult(
            model,
            tuple(self._losses),
            tuple(self._accuracies),
            self.seconds,
            self.is_over,
            self._confusion,
        )

    def _begin(
        self,
        graph: Graph,
        config: TrainingConfig,
        arrays: Mapping[str, Array] | None,
        teacher: Model | None,
        phase: TrainingPhase = "main",
    ) -> None:
        train = self.data.train
        module = new_module(graph, config, arrays, train.device)
        if arrays is None and config.whitening:
            whiten(module, train)
        self._trainer = Trainer(module, train, config, self._before_step, teacher)
        self._losses: list[float] = []
        self._accuracies: list[float] = []
        self._phase = phase

    def _begin_float32(self) -> None:
        graph, epochs = full_precision(self.graph), self.config.fp32_epochs
        warmup = min(self.config.warmup_epochs, float(epochs))
        config = replace(self.config, epochs=epochs, warmup_epochs=warmup, fp32_epochs=0)
        self._check_memory(graph)
        self._begin(graph, config, None, None, "float32")

    def _end_float32(self) -> None:
        first = finished_model(self._trainer.module)
        del self._trainer  # its memory, before the next one takes as much
        self._random.begin_anew()
        images = calibration_images(self.data.train, self.graph)
        arrays = calibrate(self.graph, first, images).arrays
        if self._teacher is None and self.config.distillation_weight:
            self._first = first
        self._begin(self.graph, self.config, arrays, self._teacher or first)
        self._began_s = self.seconds

    def _take_up(self, state: TrainingState, has_float32: bool) -> None:
        if state.phase == "float32":
            if not has_float32:
                raise DamagedStateError("a training without a float32 phase cannot go on in one")
            self._begin_float32()
        else:
            if state.teacher is not None:
                self._first = Model(full_precision(self.graph), state.teacher)
            self._begin(self.graph, self.config, None, self._teacher or self._first)
        self._trainer.restore(state)
        self._losses.extend(state.train_loss)
        self._accuracies.extend(state.validation_accuracy)

    def _check_memory(self, graph: Graph) -> None:
        train = self.data.train
        check_memory(graph, min(self.config.batch_size, len(train)), train.device)


def train(
    graph: Graph,
    data: TensorSplits,
    config: TrainingConfig,
    *,
    arrays: Mapping[str, Array] | None = None,
    teacher: Model | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    deadline_s: float | None = None,
    before_step: Callable[[], None] = go_on,
    state: TrainingState | None = None,
    on_state: Callable[[Callable[[], TrainingState]], None] | None = None,
    may_go_on: Callable[[EpochReport], bool] = always,
    clock: Callable[[], float] = monotonic,
) -> TrainingResult:
    """Trains ``graph`` on the device that ``data`` is on.

    The same seed gives the same result on a CPU with one torch thread, also where it is taken up
    from a state. Torch's own random state is left as it was. Coded weights come back on their
    grids: the real numbers behind them are dropped.

    Args:
        arrays: The first weights; None draws them from the seed, or trains them in float32 first
            where the configuration says so.
        teacher: A network to learn from beside the labels; None takes the one trained in float32.
        on_epoch: Called after each epoch, those in float32 left out.
        deadline_s: No epoch begins that, taking as long as those before, would end after this
            many seconds; the first always runs.
        before_step: Called before each step; it may wait, to make way for a measurement.
        state: Where an earlier training of the same was; its epochs are not run again.
        on_state: Called after each epoch that another may follow, those in float32 too, and after
            the last, with what makes the state; nothing is copied before.
        may_go_on: Asked after each epoch that counts but the last; False ends training there. It
            is asked before ``on_state`` is called, so that a state is one that may go on.

    Raises:
        UserError: If the network's input or output does not fit the data.
        UnsupportedOperatorError: If torch training lacks an operator.
        TrainingDivergedError: If the loss becomes NaN or infinite.
        CandidateTooLargeError: If network, gradients and maps do not fit in memory.
        NoRangeError: If a map that is to be quantized is all zeros, or a step vanishes.
        DamagedStateError: If ``state`` does not fit.
    """
    training = Training(
        graph,
        data,
        config,
        arrays=arrays,
        teacher=teacher,
        before_step=before_step,
        state=state,
        clock=clock,
    )
    while not training.is_over:
        if deadline_s is not None and training.would_end_after(deadline_s):
            break
        report = training.run_epoch()
        if report is not None:
            if on_epoch is not None:
                on_epoch(report)
            if not (training.is_over or may_go_on(report)):
                break
        if on_state is not None:
            on_state(training.state)
    return training.result()


def calibration_images(split: TensorSplit, graph: Graph) -> Tensor:
    """Returns some images as network inputs, spread over the split."""
    number = min(CALIBRATION_IMAGES, len(split))
    rows = torch.arange(number, device=split.device) * len(split) // number
    return split.inputs(rows, graph.input_shape)


def finished_model(module: Interpreter) -> Model:
    """Returns the trained network, its coded weights on their grids."""
    model = to_model(module)
    try:
        check_steps(model)
    except UserError as error:
        raise NoRangeError(str(error)) from None
    return snap_weights(model)


def validated(module: Interpreter, split: TensorSplit, epoch: int, trainer: Trainer) -> Confusion:
    try:
        return confusion(module, split)
    except FloatingPointError:
        what = "NaN or infinite validation outputs"
        raise TrainingDivergedError(epoch + 1, trainer.steps, trainer.rate, what) from None
