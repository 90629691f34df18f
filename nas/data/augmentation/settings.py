"""Settings: what may happen to a training image; `nas.data.augmentation.transforms` does it."""

from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.graphs.errors import UserError

Padding = Literal["zero", "reflect"]
Policy = Literal["none", "randaugment", "trivialaugment"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may happen to a training image; the default changes nothing.

    Attributes:
        flip: Mirror left and right, every other image; wrong for digits and letters.
        shift: The largest move up, down and sideways, as a share of height and width.
        padding: What a move uncovers: black, or the image mirrored at its edge.
        cutout: Side of the square that is blacked out, as a share of height and width; parts of
            it may lie outside the image.
        crop: The least share of the image's area that a random crop keeps, which is resized to
            the network's input; 0 crops nothing.
        policy: Random colours and turns: ``randaugment`` takes ``policy_ops`` changes of one
            strength, ``trivialaugment`` one change of a random strength.
        policy_magnitude: How strong those of RandAugment are, of 30.
        erasing: Share of the images of which a rectangle is filled with noise.
        mixup: How alike the shares of two images are that are blended, and their labels with
            them: both parameters of a beta distribution; 0 blends none.
        cutmix: Likewise, where a rectangle of one image is put into another; with both, each
            batch has one of them.
    """

    flip: bool = False
    shift: float = 0.0
    padding: Padding = "zero"
    cutout: float = 0.0
    crop: float = 0.0
    policy: Policy = "none"
    policy_ops: int = 2
    policy_magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check("shift", self.shift, 0 <= self.shift <= 0.5, "a share in [0, 0.5]")
        check("cutout", self.cutout, 0 <= self.cutout < 1, "a share in [0, 1)")
        check("crop", self.crop, 0 <= self.crop <= 1, "a share in [0, 1]; 0 crops nothing")
        check("policy_ops", self.policy_ops, 1 <= self.policy_ops <= 10, "1 to 10")
        strength = self.policy_magnitude
        check("policy_magnitude", strength, 0 <= strength <= 30, "in [0, 30]")
        check("erasing", self.erasing, 0 <= self.erasing <= 1, "a share in [0, 1]")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            check(name, value, 0 <= value <= 100, "in [0, 100]; 0 mixes nothing, 1 evenly")
        for name, kind in (("padding", Padding), ("policy", Policy)):
            known, value = get_args(kind), getattr(self, name)
            check(name, repr(value), value in known, f"{', '.join(known[:-1])} or {known[-1]}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, and labels with them."""
        return bool(self.mixup or self.cutmix)


def check(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"augmentation {name} must be {rule}, got {value}")
