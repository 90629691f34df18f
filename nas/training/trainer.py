"""Trainer: one module, its optimizer, and the steps that change it."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.data.augmentation.mixing import mixed
from nas.data.augmentation.settings import Augmentation
from nas.data.class_weights import class_weights
from nas.data.tensors import TensorSplit
from nas.nn.half import half_type
from nas.nn.interpreter import Interpreter, from_model, load_arrays
from nas.problem.training_config import TrainingConfig
from nas.training.holding import Holding
from nas.training.loss import distance, image_counts, label_loss
from nas.training.recipe.optimizer import learning_rate, make_optimizers, set_learning_rate
from nas.training.sparsity import norm_scales, total_size
from nas.training.state import MOMENTS, DamagedStateError, Moments, RandomState, TrainingState
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model

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


class Trainer:
    """A module in training: it keeps the optimizer's state from epoch to epoch."""

    def __init__(
        self,
        module: Interpreter,
        split: TensorSplit,
        config: TrainingConfig,
        before_step: Callable[[], None],
        teacher: Model | None = None,
    ) -> None:
        self.module = module
        self.teacher: Interpreter | None = None
        if teacher is not None and config.distillation_weight:
            check_teacher(module.graph, teacher.graph)
            self.teacher = on_device(from_model(teacher), split.device)
        self.split = split
        self.config = config
        self.optimizers = make_optimizers(module, config)
        self.parameters = list(module.parameters())
        self.scales = norm_scales(module) if config.norm_l1 else []
        self.holding = Holding(module, config.hold)
        self.holding.find()
        self.generator = torch.Generator(split.device).manual_seed(config.seed)
        # A batch of one image has no variance for batch norm to divide by.
        self.steps = min(ceil(len(split) / config.batch_size), len(split) // 2)
        self.rate = 0.0
        half = half_type(split.device, config.mixed_precision)
        kind = split.device.type
        self.autocast = nullcontext() if half is None else torch.autocast(kind, half)
        # Only float16 has so little range that gradients vanish without a scaled loss.
        self.scaler = torch.amp.GradScaler(split.device.type, enabled=half is torch.float16)
        wants_augmentation = config.augmentation != Augmentation()
        self.augmentation = config.augmentation if wants_augmentation else None
        self.class_weights = weights_on_device(split, config)
        self.before_step = before_step

    def moments(self) -> Moments:
        """Returns what optimizers keep of each parameter, by their name for it."""
        known = {key: value for each in self.optimizers for key, value in each.state.items()}
        return {
            kind: {
                name: as_array(known[parameter][kind])
                for name, parameter in self.module.named_parameters()
                if kind in known.get(parameter, {})
            }
            for kind in MOMENTS[self.config.optimizer]
        }

    def loss_scale(self) -> tuple[float, int] | None:
        """Returns the scale of the loss and for how many steps it held; None where it has none."""
        if not self.scaler.is_enabled():
            return None
        kept = self.scaler.state_dict()
        return kept["scale"], kept["_growth_tracker"]

    def order_random(self) -> RandomState:
        """Returns the state of the randomness that orders and augments images."""
        return as_array(self.generator.get_state())

    def restore(self, state: TrainingState) -> None:
        """Goes on from ``state``: weights, statistics, optimizer, scale and randomness.

        Raises:
            DamagedStateError: If it does not fit this training.
        """
        restore_arrays(self.module, state.arrays)
        owners = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, parameter in self.module.named_parameters():
            # Fused optimizers read all of these in the order of the parameter's memory.
            kept = {
                kind: as_lies(parameter, as_tensor(arrays[name]))
                for kind, arrays in state.moments.items()
                if name in arrays
            }
            if kept:
                owners[parameter].state[parameter] = kept
        if (state.loss_scale is not None) != self.scaler.is_enabled():
            raise DamagedStateError("a training's state must have a loss scale where float16 has")
        if state.loss_scale is not None:
            scale, held = state.loss_scale
            self.scaler.load_state_dict(
                self.scaler.state_dict() | {"scale": scale, "_growth_tracker": held}
            )
        try:
            self.generator.set_state(as_tensor(state.order_random))
        except RuntimeError as error:
            raise DamagedStateError(
                f"a training's random state is no such state: {error}"
            ) from None

    def run_epoch(self, epoch: int) -> float:
        """Trains on every image once and returns the mean loss.

        Raises:
            TrainingDivergedError: If the loss becomes NaN or infinite.
        """
        self.module.train()
        self.holding.find()
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
        set_learning_rate(self.optimizers, self.rate)
        labels = self.split.labels[rows]
        if self.augmentation is not None and self.augmentation.mixes:
            classes = self.split.num_classes
            inputs, labels = mixed(inputs, labels, classes, self.augmentation, self.generator)
        loss = self.loss(inputs, labels)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.holding.hold_gradients()
        for optimizer in self.optimizers:  # of which Muon's gradients are not divided in a step
            self.scaler.unscale_(optimizer)
        if self.config.gradient_clip is not None:
            norm = nn.utils.get_total_norm(self.holding.moving(self.parameters))
            nn.utils.clip_grads_with_norm_(self.parameters, self.config.gradient_clip, norm)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.holding.hold_weights()
        return loss.detach()

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        loss = self.example_loss(inputs, labels)
        if self.scales:
            loss = loss + config.norm_l1 * total_size(self.scales)
        return loss

    def example_loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        with self.autocast:
            outputs = self.module(inputs)
        loss = label_loss(outputs, labels, config.label_smoothing, self.class_weights)
        if self.teacher is None:
            return loss
        with self.autocast, torch.no_grad():
            wanted = self.teacher(inputs)
        counts = image_counts(labels, self.class_weights)
        far = distance(outputs, wanted, config.distillation_temperature, counts)
        return torch.lerp(loss, far, config.distillation_weight)


def check_finite(losses: list[Tensor], rates: list[float], epoch: int) -> None:
    values = torch.stack(losses).tolist()
    for step, value in enumerate(values):
        if not abs(value) < float("inf"):
            raise TrainingDivergedError(epoch + 1, step + 1, rates[step], f"loss {value}")


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
    return on_device(module, device)


def weights_on_device(split: TensorSplit, config: TrainingConfig) -> Tensor | None:
    """Returns what each class counts in the loss, ``(K,)``; None where all count alike."""
    sizes = torch.bincount(split.labels, minlength=split.num_classes).cpu().numpy()
    weights = class_weights(config.class_weights, split.class_names, sizes)
    return None if weights is None else torch.tensor(weights).float().to(split.device)


def restore_arrays(module: Interpreter, arrays: Mapping[str, Array]) -> None:
    """Copies ``arrays`` into the module, also those of quantizers that have seen nothing yet."""
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(as_tensor(arrays[name]))
    for quantizer in module.quantizers():
        quantizer.has_step = bool(quantizer["step"] > 0)  # zero until the first batch tells it


def as_lies(parameter: Tensor, kept: Tensor) -> Tensor:
    """Returns what is kept of a parameter where and as the parameter lies; counts are scalars."""
    if kept.shape != parameter.shape:
        return kept.to(parameter.device)
    return torch.empty_like(parameter.detach()).copy_(kept)


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Returns a copy on the CPU."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def as_tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, order="C"))  # a copy: arrays from files are read-only


def on_device(module: Interpreter, device: torch.device) -> Interpreter:
    module.to(device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    return module


def check_output(split: TensorSplit, graph: Graph) -> None:
    if graph.output.shape != (split.num_classes, 1, 1):
        raise UserError(
            f"{graph.output.name}: a network's output must be one number a class, got shape "
            f"{graph.output.shape} for the {split.num_classes} classes of {split.name}; build it "
            f"with {split.num_classes} classes"
        )


def check_teacher(graph: Graph, teacher: Graph) -> None:
    """Raises:
    UserError: If a teacher cannot see what the network sees, or speaks of other classes.
    """
    for what, ours, theirs in (
        ("input", graph.input_shape, teacher.input_shape),
        ("output", graph.output.shape, teacher.output.shape),
    ):
        if ours != theirs:
            raise UserError(
                f"a teacher must have the network's {what} shape {ours}, got {theirs}; train one "
                "that has, or set distillation_weight to 0"
            )
