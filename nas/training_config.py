"""Training configuration: the recipe that candidates and published networks share."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from nas.augment import Augmentation
from search_spaces.errors import UserError

OptimizerName = Literal["adamw", "sgd"]
Switch = Literal["auto", "off"]
DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        batch_size: The largest batch; an epoch is cut into batches of nearly equal size.
        momentum: Of SGD; AdamW has its own.
        label_smoothing: Share of each label spread over all classes.
        warmup_epochs: Epochs in which the learning rate rises in a line; may be a fraction.
        cosine: The learning rate falls to zero as a cosine; else it stays.
        gradient_clip: Largest norm of the gradient; None leaves it.
        norm_momentum: Weight of the newest batch in batch norm's running statistics.
        fp32_epochs: Epochs in float32 before those of a low-bit network, for its first weights and
            its teacher. Networks without low-bit layers have none.
        distillation_weight: Share of the loss that is the distance from the teacher's outputs,
            where there is a teacher.
        distillation_temperature: What both outputs are divided by to compare them.
        mixed_precision: ``auto`` is on with CUDA: bfloat16, or float16 with scaled loss.
        seed: Of the first weights, the order of images, augmentation and dropout.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    momentum: float = 0.9
    label_smoothing: float = 0.0
    warmup_epochs: float = 1.0
    cosine: bool = True
    gradient_clip: float | None = None
    norm_momentum: float = 0.1
    fp32_epochs: int = 0
    distillation_weight: float = 0.5
    distillation_temperature: float = 4.0
    mixed_precision: Switch = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: DeviceName = "auto"

    def __post_init__(self) -> None:
        check("epochs", self.epochs, self.epochs >= 1, "at least 1")
        # A batch of one has no variance for batch norm to divide by.
        check("batch_size", self.batch_size, self.batch_size >= 2, "at least 2")
        check("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        check("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        check("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        check("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in [0, 1)")
        check(
            "warmup_epochs",
            self.warmup_epochs,
            0 <= self.warmup_epochs <= self.epochs,
            f"between 0 and epochs (= {self.epochs})",
        )
        clip = self.gradient_clip
        check("gradient_clip", clip, clip is None or clip > 0, "above 0, or none")
        check("norm_momentum", self.norm_momentum, 0 < self.norm_momentum <= 1, "in (0, 1]")
        check("fp32_epochs", self.fp32_epochs, self.fp32_epochs >= 0, "at least 0")
        weight, temperature = self.distillation_weight, self.distillation_temperature
        check("distillation_weight", weight, 0 <= weight <= 1, "in [0, 1]")
        check("distillation_temperature", temperature, temperature > 0, "above 0")
        for name, kind in (
            ("optimizer", OptimizerName),
            ("mixed_precision", Switch),
            ("device", DeviceName),
        ):
            known, value = get_args(kind), getattr(self, name)
            check(name, repr(value), value in known, f"one of {', '.join(known)}")


def check(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"training {name} must be {rule}, got {value}")


def training_device(name: DeviceName) -> torch.device:
    """Returns the device that a configuration means; ``auto`` is CUDA where there is one.

    Raises:
        UserError: If it says ``cuda`` and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError(
            f"training device must be there, got 'cuda' and torch {torch.__version__} sees no "
            "CUDA device; install a CUDA build of torch or set device to cpu"
        )
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")
