"""Training configuration: how networks are trained, and recipes, which are named sets of defaults.

What is said explicitly wins over a recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from nas.data.augmentation.settings import Augmentation
from nas.data.class_weights import check_class_weights
from search_spaces.graphs.errors import UserError

OptimizerName = Literal["adamw", "sgd", "muon"]
RecipeName = Literal["fast", "plain"]
Fall = Literal["cosine", "linear"]
MixedPrecision = Literal["auto", "bfloat16", "off"]
DeviceName = Literal["auto", "cpu", "cuda"]
Hold = Literal["none", "zeros", "shared"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        recipe: Whose settings hold where none were said (`RECIPES`); for people.
        batch_size: The largest batch; an epoch is cut into batches of nearly equal size.
        optimizer: Muon moves the weights of layers, and AdamW beside it all else.
        momentum: Of SGD and Muon; AdamW has its own.
        label_smoothing: Share of each label spread over all classes.
        class_weights: How much the images of each class count; see `nas.data.class_weights`.
        warmup_epochs: Epochs in which the learning rate rises in a line; may be a fraction.
        cosine: The learning rate falls to zero; else it stays.
        fall: How it falls: as half a cosine, or in a line.
        whitening: A first convolution whose weights are drawn begins as the principal components
            of image patches; see `nas.training.recipe.whitening`.
        gradient_clip: Largest norm of the gradient; None leaves it.
        norm_momentum: Weight of the newest batch in batch norm's running statistics.
        norm_l1: Weight in the loss of the sum of all batch norms' absolute scales, which drives
            those of needless channels to zero; see `nas.training.sparsity`.
        hold: What weights that are given keep to: "zeros" stay zero, and "shared" ones, the equal
            numbers of a layer, stay equal too; see `nas.training.holding`.
        fp32_epochs: Epochs in float32 before those of a low-bit network, for its first weights and
            its teacher. Networks without low-bit layers have none.
        teacher: Path of a model folder, export or archive, whose outputs are learnt from beside
            the labels.
        distillation_weight: Share of the loss that is the distance from the teacher's outputs,
            where there is a teacher.
        distillation_temperature: What both outputs are divided by to compare them.
        mixed_precision: ``auto`` is on with CUDA: bfloat16, or float16 with scaled loss.
            ``bfloat16`` is for CPUs too that compute in it.
        seed: Of the first weights, the order of images, augmentation and dropout.
    """

    recipe: RecipeName = "plain"
    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    momentum: float = 0.9
    label_smoothing: float = 0.0
    class_weights: Any = "none"  # `ClassWeights`, of which one check alone shall speak
    warmup_epochs: float = 1.0
    cosine: bool = True
    fall: Fall = "cosine"
    whitening: bool = False
    gradient_clip: float | None = None
    norm_momentum: float = 0.1
    norm_l1: float = 0.0
    hold: Hold = "none"
    fp32_epochs: int = 0
    teacher: str | None = None
    distillation_weight: float = 0.5
    distillation_temperature: float = 4.0
    mixed_precision: MixedPrecision = "auto"
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: DeviceName = "auto"

    def __post_init__(self) -> None:
        check_training("epochs", self.epochs, self.epochs >= 1, "at least 1")
        # A batch of one has no variance for batch norm to divide by.
        check_training("batch_size", self.batch_size, self.batch_size >= 2, "at least 2")
        check_training("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        check_training("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        check_training("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        check_training(
            "label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in [0, 1)"
        )
        check_class_weights(self.class_weights)
        check_training(
            "warmup_epochs",
            self.warmup_epochs,
            0 <= self.warmup_epochs <= self.epochs,
            f"between 0 and epochs (= {self.epochs})",
        )
        clip = self.gradient_clip
        check_training("gradient_clip", clip, clip is None or clip > 0, "above 0, or none")
        check_training(
            "norm_momentum", self.norm_momentum, 0 < self.norm_momentum <= 1, "in (0, 1]"
        )
        check_training("norm_l1", self.norm_l1, self.norm_l1 >= 0, "at least 0")
        check_training("fp32_epochs", self.fp32_epochs, self.fp32_epochs >= 0, "at least 0")
        weight, temperature = self.distillation_weight, self.distillation_temperature
        check_training("distillation_weight", weight, 0 <= weight <= 1, "in [0, 1]")
        check_training("distillation_temperature", temperature, temperature > 0, "above 0")
        learns = self.teacher is None or weight > 0
        check_training("distillation_weight", weight, learns, "above 0 where there is a teacher")
        for name, kind in (
            ("recipe", RecipeName),
            ("optimizer", OptimizerName),
            ("fall", Fall),
            ("mixed_precision", MixedPrecision),
            ("device", DeviceName),
            ("hold", Hold),
        ):
            known, value = get_args(kind), getattr(self, name)
            check_training(name, repr(value), value in known, f"one of {', '.join(known)}")


def check_training(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"training {name} must be {rule}, got {value}")


Settings = Mapping[str, Any]

# What learns most in few epochs; docs/decisions/024 says what each key brought.
FAST: Settings = {
    "optimizer": "muon",
    "learning_rate": 0.02,
    "fall": "linear",
    "whitening": True,
}

RECIPES: Mapping[str, Settings] = {
    "fast": FAST,
    "plain": {},  # AdamW and a cosine, as `TrainingConfig` has them, and older hwnas had
}
# Keys that mean something else beside another optimizer than the recipe's own.
OF_OPTIMIZER = ("learning_rate", "weight_decay", "momentum")


def with_recipe(given: Settings, usual: RecipeName) -> dict[str, Any]:
    """Returns the keys of `training` with what their recipe says where they say nothing.

    Args:
        given: As in a file; what is wrong in it stays, for others to tell.
        usual: The recipe where none is named.
    """
    name = given.get("recipe", usual)
    if not isinstance(name, str) or name not in RECIPES:
        return dict(given)
    settings = dict(RECIPES[name])
    if given.get("optimizer", settings.get("optimizer")) != settings.get("optimizer"):
        settings = {key: value for key, value in settings.items() if key not in OF_OPTIMIZER}
    return {"recipe": name, **settings, **given}


def training_config(**given: Any) -> TrainingConfig:  # noqa: ANN401  (settings of many kinds)
    """Returns how networks are trained by a recipe, the fast one where none is named.

    Raises:
        UserError: If a setting is wrong.
    """
    settings = with_recipe(given, "fast")
    augmentation = settings.pop("augmentation", {})
    if isinstance(augmentation, Mapping):
        augmentation = Augmentation(**augmentation)
    return TrainingConfig(**settings, augmentation=augmentation)
