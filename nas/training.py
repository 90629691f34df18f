"""Training: from a graph and data to a model, by one recipe for all networks.

Shape letters: B batch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import ceil
from time import monotonic

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.accuracy import accuracy
from nas.augment import Augmentation
from nas.data.tensors import TensorSplit, TensorSplits, check_input
from nas.interpreter import Interpreter, load_arrays, to_model
from nas.memory import free_bytes, training_bytes
from nas.optimizer import learning_rate, make_optimizer, set_learning_rate
from nas.training_config import TrainingConfig
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.model import Array, Model

STEPS_BETWEEN_CHECKS = 50  # looking at the loss makes a GPU wait


class TrainingDivergedError(UserError):
    """The loss, or an output, became NaN or infinite.

    Attributes:
        epoch: Counted from 1.
        step: Within the epoch, counted from 1.
        learning_rate: At that step.
    """

    def __init__(self, epoch: int, step: int, rate: float, what: str) -> None:
        super().__init__(
            f"training must keep a finite loss, got {what} in epoch {epoch}, step {step} at "
            f"learning rate {rate:.3g}; lower learning_rate, lengthen warmup_epochs or set "
            "gradient_clip"
        )
        self.epoch = epoch
        self.step = step
        self.learning_rate = rate


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
        train_loss: Mean over each finished epoch.
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
    on_epoch: Callable[[EpochReport], None] | None = None,
    deadline_s: float | None = None,
    before_step: Callable[[], None] = go_on,
    clock: Callable[[], float] = monotonic,
) -> TrainingResult:
    """Trains ``graph`` on the device that ``data`` is on.

    The same seed gives the same result on a CPU with one torch thread. Torch's own random state
    is left as it was.

    Args:
        arrays: The first weights; None draws them from the seed.
        on_epoch: Called after each epoch.
        deadline_s: No epoch begins that, taking as long as those before, would end after this
            many seconds; the first always runs.
        before_step: Called before each step; it may wait, to make way for a measurement.

    Raises:
        UserError: If the network's input or output does not fit the data.
        UnsupportedOperatorError: If torch training lacks an operator or precision.
        TrainingDivergedError: If the loss becomes NaN or infinite.
        CandidateTooLargeError: If network, gradients and maps do not fit in memory.
    """
    check_input(data.train, graph.input_shape)
    check_output(data.train, graph)
    device = data.train.device
    with refusing_too_large(graph), seeded(config.seed, device):
        check_memory(graph, min(config.batch_size, len(data.train)), device)
        module = new_module(graph, config, arrays, device)
        trainer = Trainer(module, data.train, config, before_step)
        started = clock()
        losses: list[float] = []
        accuracies: list[float] = []
        for epoch in range(config.epochs):
            elapsed = clock() - started
            if deadline_s is not None and epoch and elapsed * (epoch + 1) / epoch > deadline_s:
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
            to_model(module),
            tuple(losses),
            tuple(accuracies),
            clock() - started,
            len(losses) == config.epochs,
        )


class Trainer:
    """A module in training: it keeps the optimizer's state from epoch to epoch."""

    def __init__(
        self,
        module: Interpreter,
        split: TensorSplit,
        config: TrainingConfig,
        before_step: Callable[[], None],
    ) -> None:
        self.module = module
        self.split = split
        self.config = config
        self.optimizer = make_optimizer(module, config)
        self.parameters = list(module.parameters())
        self.generator = torch.Generator(split.device).manual_seed(config.seed)
        # A batch of one image has no variance for batch norm to divide by.
        self.steps = min(ceil(len(split) / config.batch_size), len(split) // 2)
        self.rate = 0.0
        half = half_precision(split.device, config)
        self.autocast = nullcontext() if half is None else torch.autocast("cuda", half)
        # Only float16 has so little range that gradients vanish without a scaled loss.
        self.scaler = torch.amp.GradScaler(split.device.type, enabled=half is torch.float16)
        wants_augmentation = config.augmentation != Augmentation()
        self.augmentation = config.augmentation if wants_augmentation else None
        self.before_step = before_step

    def run_epoch(self, epoch: int) -> float:
        """Trains on every image once and returns the mean loss.

        Raises:
            TrainingDivergedError: If the loss becomes NaN or infinite.
        """
        self.module.train()
        device = self.split.device
        order = torch.randperm(len(self.split), device=device, generator=self.generator)
        losses: list[Tensor] = []
        rates: list[float] = []
        for step, rows in enumerate(order.tensor_split(self.steps)):
            self.rate = learning_rate(epoch * self.steps + step, self.steps, self.config)
            rates.append(self.rate)
            self.before_step()
            losses.append(self.run_step(rows))
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                check_finite(losses, rates, epoch)
        check_finite(losses, rates, epoch)
        return float(torch.stack(losses).mean())

    def run_step(self, rows: Tensor) -> Tensor:
        """Takes one step and returns its loss, which nobody has waited for."""
        shape = self.module.graph.input_shape
        inputs = self.split.inputs(rows, shape, self.augmentation, self.generator)
        set_learning_rate(self.optimizer, self.rate)
        with self.autocast:
            outputs = self.module(inputs)
        loss = functional.cross_entropy(
            outputs.float(), self.split.labels[rows], label_smoothing=self.config.label_smoothing
        )
        self.optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        if self.config.gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()


def check_finite(losses: list[Tensor], rates: list[float], epoch: int) -> None:
    values = torch.stack(losses).tolist()
    for step, value in enumerate(values):
        if not abs(value) < float("inf"):
            raise TrainingDivergedError(epoch + 1, step + 1, rates[step], f"loss {value}")


def validated(module: Interpreter, split: TensorSplit, epoch: int, trainer: Trainer) -> float:
    try:
        return accuracy(module, split)
    except FloatingPointError:
        what = "NaN or infinite validation outputs"
        raise TrainingDivergedError(epoch + 1, trainer.steps, trainer.rate, what) from None


def new_module(
    graph: Graph,
    config: TrainingConfig,
    arrays: Mapping[str, Array] | None,
    device: torch.device,
) -> Interpreter:
    module = Interpreter(
        graph,
        norm_momentum=config.norm_momentum,
        generator=torch.Generator().manual_seed(config.seed),
    )
    if arrays is not None:
        load_arrays(module, arrays)
    module.to(device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    return module


def half_precision(device: torch.device, config: TrainingConfig) -> torch.dtype | None:
    """Returns the 16-bit type that convolutions run in, None for float32 throughout."""
    if device.type != "cuda" or config.mixed_precision == "off":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def check_output(split: TensorSplit, graph: Graph) -> None:
    if graph.output.shape != (split.num_classes, 1, 1):
        raise UserError(
            f"{graph.output.name}: a network's output must be one number a class, got shape "
            f"{graph.output.shape} for the {split.num_classes} classes of {split.name}; build it "
            f"with {split.num_classes} classes"
        )


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
