"""Training: from a graph and data to a model, by one recipe for all networks.

Shape letters: B batch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

import torch
from torch import Tensor

from nas.accuracy import accuracy
from nas.calibration import calibrate
from nas.data.tensors import TensorSplit, TensorSplits, check_input
from nas.interpreter import Interpreter, to_model
from nas.memory import free_bytes, training_bytes
from nas.quantized_layers import NoRangeError
from nas.trainer import Trainer, TrainingDivergedError, check_output, new_module
from nas.training_config import TrainingConfig
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.model import Array, Model
from search_spaces.quantization import check_steps, is_coded, snap_weights
from search_spaces.reprecision import full_precision

CALIBRATION_IMAGES = 512


class CandidateTooLargeError(UserError):
    """The network does not fit in memory."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What is known after an epoch; ``epoch`` counts from 1, ``seconds`` from the start."""

    epoch: int
    epochs: int
    train_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained network.

    Attributes:
        model: Its coded weights are on their grids; the real numbers behind them are gone.
        train_loss: Mean over each finished epoch; those in float32 before are left out.
        validation_accuracy: After each finished epoch, in 0..1.
        finished: False where the deadline came first.
    """

    model: Model
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    seconds: float
    finished: bool

    @property
    def epochs_run(self) -> int:
        return len(self.validation_accuracy)

    @property
    def accuracy(self) -> float:
        """Validation accuracy after the last finished epoch."""
        return self.validation_accuracy[-1]


def go_on() -> None:
    """For training that nothing has to wait for."""


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
    clock: Callable[[], float] = monotonic,
) -> TrainingResult:
    """Trains ``graph`` on the device that ``data`` is on.

    The same seed gives the same result on a CPU with one torch thread. Torch's own random state
    is left as it was. Coded weights come back on their grids: the real numbers behind them are
    dropped.

    Args:
        arrays: The first weights; None draws them from the seed, or trains them in float32 first
            where the configuration says so.
        teacher: A network to learn from beside the labels; None takes the one trained in float32.
        on_epoch: Called after each epoch, those in float32 left out.
        deadline_s: No epoch begins that, taking as long as those before, would end after this
            many seconds; the first always runs.
        before_step: Called before each step; it may wait, to make way for a measurement.

    Raises:
        UserError: If the network's input or output does not fit the data.
        UnsupportedOperatorError: If torch training lacks an operator.
        TrainingDivergedError: If the loss becomes NaN or infinite.
        CandidateTooLargeError: If network, gradients and maps do not fit in memory.
        NoRangeError: If a map that is to be quantized is all zeros, or a step vanishes.
    """
    check_input(data.train, graph.input_shape)
    check_output(data.train, graph)
    device = data.train.device
    with refusing_too_large(graph), seeded(config.seed, device):
        check_memory(graph, min(config.batch_size, len(data.train)), device)
        started = clock()
        if config.fp32_epochs and arrays is None and any(map(is_coded, graph.nodes)):
            first = train_in_fp32(graph, data, config, before_step)
            arrays = calibrate(graph, first, calibration_images(data.train, graph)).arrays
            teacher = teacher or first
        module = new_module(graph, config, arrays, device)
        trainer = Trainer(module, data.train, config, before_step, teacher)
        began = clock()
        losses: list[float] = []
        accuracies: list[float] = []
        for epoch in range(config.epochs):
            if deadline_s is not None and epoch:
                now = clock()
                if now - started + (now - began) / epoch > deadline_s:
                    break
            losses.append(trainer.run_epoch(epoch))
            accuracies.append(validated(module, data.validation, epoch, trainer))
            if on_epoch is not None:
                on_epoch(
                    EpochReport(
                        epoch + 1,
                        config.epochs,
                        losses[-1],
                        accuracies[-1],
                        trainer.rate,
                        clock() - started,
                    )
                )
        return TrainingResult(
            finished_model(module),
            tuple(losses),
            tuple(accuracies),
            clock() - started,
            len(losses) == config.epochs,
        )


def train_in_fp32(
    graph: Graph, data: TensorSplits, config: TrainingConfig, before_step: Callable[[], None]
) -> Model:
    epochs = config.fp32_epochs
    warmup = min(config.warmup_epochs, float(epochs))
    config = replace(config, epochs=epochs, warmup_epochs=warmup, fp32_epochs=0)
    return train(full_precision(graph), data, config, before_step=before_step).model


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


def validated(module: Interpreter, split: TensorSplit, epoch: int, trainer: Trainer) -> float:
    try:
        return accuracy(module, split)
    except FloatingPointError:
        what = "NaN or infinite validation outputs"
        raise TrainingDivergedError(epoch + 1, trainer.steps, trainer.rate, what) from None


def check_memory(graph: Graph, batch_size: int, device: torch.device) -> None:
    needed = training_bytes(graph, batch_size)
    if device.type == "cpu" and needed > (free := free_bytes()):
        raise CandidateTooLargeError(
            f"training must fit in memory, got at least {needed / 2**30:.1f} GiB for batches of "
            f"{batch_size} with {free / 2**30:.1f} GiB free; lower batch_size or the space's "
            "widths or resolution"
        )


@contextmanager
def refusing_too_large(graph: Graph) -> Iterator[None]:
    """Turns a failed allocation inside into ``CandidateTooLargeError``."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        raise CandidateTooLargeError(
            f"training must fit in memory, a network of {len(graph.nodes)} nodes did not "
            f"({text.splitlines()[0] if text else 'out of memory'}); lower batch_size or the "
            "space's widths or resolution"
        ) from error


def out_of_memory(error: RuntimeError) -> bool:
    """Returns whether torch failed to allocate; its CPU allocator has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's own random state (dropout draws from it) and restores it afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
