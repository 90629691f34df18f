"""Steps: how shared weights are trained, by the sandwich rule with in-place distillation.

*Source:* Yu et al., "BigNAS", ECCV 2020, https://arxiv.org/abs/2003.11142, sections 3.1 and 3.2:
the largest network learns from labels, smaller ones of the same step from what it says of the same
images; Yu and Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019,
https://arxiv.org/abs/1903.05134, section 3. Blocks are dealt: `search_spaces.space.dealing`.
*Differs from the papers:* in a space of many blocks a random network may cost a tenth of the
largest, and most is learnt by showing many. So four networks see the whole batch and learn from
its labels, the largest sees a part of it, and what it says of these images is learnt from too.
A step costs about 1.3 times what the largest alone would on the whole batch.

Arrays that no network of a step reads are not moved by it, nor is what the optimizer keeps of
them.

Shape letters: B batch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.data.augmentation.mixing import mixed
from nas.data.augmentation.settings import Augmentation
from nas.data.tensors import TensorSplit
from nas.nn.quantized_layers import NoRangeError
from nas.problem.records import SupernetConfig
from nas.problem.training_config import TrainingConfig
from nas.training.loss import distance, image_counts, label_loss
from nas.training.recipe.optimizer import (
    FULL_RATE_FAN_IN,
    SIGN_RATE,
    learning_rate,
    multiply,
)
from nas.training.supernet.weights import NoSharedWeightsError, SharedWeights
from nas.training.trainer import weights_on_device
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.dealing import Dealer, Role
from search_spaces.space.extremes import Extremes
from search_spaces.space.sharing import Role as ArrayRole
from search_spaces.space.sharing import SharedWindow
from search_spaces.space.space import SearchSpace

SHARE = 0.25  # of a batch, which the largest network sees; the others see all
# Who does, step by step.
OTHERS: tuple[tuple[Role, ...], ...] = (("random",) * 4, (*("random",) * 3, "smallest"))
CLIP = 5.0  # largest norm of the gradient
MOST_DROPPED = 0.1  # share of the steps of an epoch that may be lost
WARMUP_EPOCHS = 1.0
DEALS = 100  # in a row that give no network that trains


class SupernetFailedError(UserError):
    """Shared weights that cannot be trained."""


@dataclass(frozen=True, slots=True)
class EpochLosses:
    """What an epoch was like.

    Attributes:
        largest: Mean loss of the largest networks.
        others: That of the others.
        dropped: Steps that gave NaN or infinite numbers and moved nothing.
    """

    largest: float
    others: float
    dropped: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A network of a step, and where its arrays lie."""

    graph: Graph
    windows: Mapping[str, SharedWindow]


class SupernetTrainer:
    """Trains shared weights epoch by epoch; each epoch follows from the seed and its number."""

    def __init__(
        self,
        weights: SharedWeights,
        space: SearchSpace,
        extremes: Extremes,
        split: TensorSplit,
        training: TrainingConfig,
        config: SupernetConfig,
        before_step: Callable[[], None],
    ) -> None:
        self.weights = weights
        self.space = space
        self.extremes = extremes
        self.split = split
        self.training = training
        self.config = config
        self.before_step = before_step
        self.optimizer = make_optimizer(weights, training, config)
        self.steps = max(1, min(ceil(len(split) / config.batch_size), len(split) // 4))
        wanted = training.augmentation != Augmentation()
        self.augmentation = training.augmentation if wanted else None
        self.class_weights = weights_on_device(split, training)
        self.share = SHARE
        self.others: Iterator[tuple[Role, ...]] = cycle(OTHERS)
        self.dealer = self.dealer_of(0)
        self.generator = torch.Generator(split.device)

    def dealer_of(self, epoch: int) -> Dealer:
        return Dealer(self.space, self.extremes, Random(f"{self.training.seed} {epoch}"))

    def run_epoch(self, epoch: int) -> EpochLosses:
        """Shows the largest networks every image once.

        Raises:
            SupernetFailedError: If too many steps give NaN or infinite numbers.
        """
        self.dealer, self.others = self.dealer_of(epoch), cycle(OTHERS)
        seed = (self.training.seed << 20) + epoch
        self.generator.manual_seed(seed)
        device = self.split.device
        devices = [device] if device.type == "cuda" else []
        losses: list[tuple[float, float]] = []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)  # dropout draws from it
            order = torch.randperm(len(self.split), device=device, generator=self.generator)
            for step, rows in enumerate(order.tensor_split(self.steps)):
                self.before_step()
                found = self.run_step(rows, self.rate(epoch * self.steps + step))
                losses += [] if found is None else [found]
                self.check_dropped(epoch, step, step + 1 - len(losses))
        largest, others = (sum(each) / len(losses) for each in zip(*losses, strict=True))
        return EpochLosses(largest, others, self.steps - len(losses))

    def check_dropped(self, epoch: int, step: int, dropped: int) -> None:
        if (dropped > MOST_DROPPED * self.steps and dropped > 1) or dropped == self.steps:
            raise SupernetFailedError(
                f"the supernet's training must give finite numbers, got NaN or infinite ones in "
                f"{dropped} of the first {step + 1} steps of epoch {epoch + 1}; lower "
                f"search.supernet.learning_rate (= {self.config.learning_rate:g})"
            )

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0 over all epochs."""
        config = self.config
        schedule = TrainingConfig(
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            warmup_epochs=min(WARMUP_EPOCHS, config.epochs / 2),
        )
        return learning_rate(step, self.steps, schedule)

    def run_step(self, rows: Tensor, rate: float) -> tuple[float, float] | None:
        """Takes a step and returns the losses of the largest network and the mean of the others.

        None where a number was NaN or infinite: then nothing moved.
        """
        self.weights.forget_gradients()
        networks = [self.next_slice(role) for role in ("largest", *next(self.others))]
        try:
            losses = self.add_gradients(rows, networks)
        except NoRangeError:  # a map of NaN has no range
            return None
        touched = [p for p in self.weights.parameters.values() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in touched if p.grad is not None])
        if not bool(torch.isfinite(norm)) or not all(abs(x) < float("inf") for x in losses):
            return None
        nn.utils.clip_grads_with_norm_(touched, CLIP, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_share"]
        self.optimizer.step()
        return losses[0], sum(losses[1:]) / max(1, len(losses) - 1)

    def next_slice(self, role: Role) -> Slice:
        """Returns the next network that is dealt, and that the weights hold."""
        for _ in range(DEALS):
            try:
                graph = (dealt := self.dealer.deal(role)).graph
                return Slice(graph, self.weights.windows(dealt))
            except (ValueError, NoSharedWeightsError):
                continue
        raise SupernetFailedError(
            f"a space must have networks to train, got none in {DEALS} draws; look at it with "
            "nas space show"
        )

    def add_gradients(self, rows: Tensor, slices: list[Slice]) -> list[float]:
        """Adds the gradients of all networks of a step; returns their losses."""
        largest, *others = slices
        inputs, labels = self.batch(rows, largest)
        seen = max(2, round(self.share * len(rows)))
        said, loss = self.run_slice(largest, inputs[:seen], labels[:seen], None)
        return [loss, *(self.run_slice(each, inputs, labels, said)[1] for each in others)]

    def batch(self, rows: Tensor, largest: Slice) -> tuple[Tensor, Tensor]:
        """Returns inputs of the network's size, and labels."""
        shape = largest.graph.input_shape
        inputs = self.split.inputs(rows, shape, self.augmentation, self.generator)
        labels = self.split.labels[rows]
        if self.augmentation is not None and self.augmentation.mixes:
            classes = self.split.num_classes
            inputs, labels = mixed(inputs, labels, classes, self.augmentation, self.generator)
        return inputs, labels

    def run_slice(
        self, cut: Slice, inputs: Tensor, labels: Tensor, wanted: Tensor | None
    ) -> tuple[Tensor, float]:
        """Adds the gradients of one network; returns its outputs and its loss.

        Args:
            wanted: What the largest network said of the first images; None where this is it.
        """
        module = self.weights.module(cut.graph, cut.windows)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        outputs = module(resized(inputs, cut.graph))
        self.weights.keep_steps(module, cut.windows)
        smoothing = self.training.label_smoothing
        loss = label_loss(outputs, labels, smoothing, self.class_weights)
        if wanted is not None:
            seen = len(wanted)
            counts = image_counts(labels[:seen], self.class_weights)
            far = distance(outputs[:seen], wanted, 1.0, counts)
            loss = loss + far * seen / len(labels)
        torch.autograd.backward(loss)
        self.weights.add_gradients(module, cut.windows)
        return outputs.detach(), float(loss.detach())


def resized(inputs: Tensor, graph: Graph) -> Tensor:
    """Returns images at the size that a network takes."""
    size = graph.input_shape[1:]
    if tuple(inputs.shape[2:]) == size:
        return inputs
    return functional.interpolate(inputs, size, mode="bilinear", antialias=True)


def make_optimizer(
    weights: SharedWeights, training: TrainingConfig, config: SupernetConfig
) -> torch.optim.Optimizer:
    """Returns AdamW; rates and weight decay are those of `nas.training.recipe.optimizer`."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in weights.parameters.items():
        role = weights.store.roles[key]
        decay = training.weight_decay if role.is_weight and not role.signs else 0.0
        groups.setdefault((decay, rate_share(role, parameter)), []).append(parameter)
    rows = [
        {"params": parameters, "weight_decay": decay, "rate_share": share}
        for (decay, share), parameters in groups.items()
    ]
    optimizer = torch.optim.AdamW(rows, lr=config.learning_rate, fused=True)
    steps = [p for k, p in weights.parameters.items() if weights.store.roles[k].is_step]
    if steps:
        multiply(steps, optimizer, relative=True)
    return optimizer


def rate_share(role: ArrayRole, parameter: nn.Parameter) -> float:
    """Returns what the learning rate of an array is multiplied by."""
    if not role.is_weight:
        return 1.0
    full = SIGN_RATE if role.signs else 1.0
    if role.normed:
        return full
    fan_in = parameter.shape[1:].numel()
    return full * min(1.0, FULL_RATE_FAN_IN / fan_in)
