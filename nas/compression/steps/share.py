"""Step ``share``: the weights of a layer take few values, which are then trained.

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nas.compression.layer_curves import LayerCurve, largest_within, layer_curves
from nas.compression.steps.prune_weights import CURVE_IMAGES
from nas.compression.stop import Drop
from nas.compression.workbench import LayerNote, LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from nas.training.accuracy import accuracy
from nas.training.holding import to_hold
from nas.training.recipe.statistics import drawn_batches
from search_spaces.compression.clustering import Init
from search_spaces.compression.sharing import (
    CONV_BITS,
    LINEAR_BITS,
    check_bits,
    codebook,
    share_weights,
    usual_bits,
)
from search_spaces.compression.weight_pruning import by_layer, real_weights
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model

BITS = (8, 7, 6, 5, 4, 3, 2, 1)  # tried where a drop is stated
WHAT = "bits of values"


@dataclass(frozen=True, slots=True)
class Share:
    """Weight sharing by k-means, zeros left out.

    Attributes:
        conv_bits, linear_bits: Of convolutions (8) and linear layers (5): ``2 ** bits`` values.
        layers: Others, by names of layers or patterns.
        init: First centroids; see `search_spaces.compression.clustering`.
        max_accuracy_drop: In place of the bits of all but ``layers``, what all together may cost
            before values are trained: each layer takes as few bits as this allows.
        retrain: Whether the values are trained, each by the sum of its weights' gradients; where
            that costs validation accuracy it is taken back.
    """

    conv_bits: int | None = None
    linear_bits: int | None = None
    layers: Mapping[str, int] = field(default_factory=dict)
    init: Init = "linear"
    max_accuracy_drop: Drop | None = None
    retrain: bool = True
    name: ClassVar[str] = "share"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        given = [name for name in ("conv_bits", "linear_bits") if getattr(self, name) is not None]
        if given and self.max_accuracy_drop is not None:
            raise UserError(
                f"share takes max_accuracy_drop, which finds the bits, or {given[0]}, got both; "
                "say bits of single layers in layers"
            )
        for name, bits in {**{each: getattr(self, each) for each in given}, **self.layers}.items():
            check_bits(name, bits)

    def run(self, model: Model, bench: Workbench) -> Made:
        curves: tuple[LayerCurve, ...] = ()
        bits = self.bits(model)
        if self.max_accuracy_drop is None or bench.is_rehearsal:
            shared = share_weights(model, bits, self.init, seed=bench.training.seed)
        else:
            curves, shared = self.within_drop(model, bench, self.max_accuracy_drop)
        before, said = shared, ""
        learning: tuple[LearningCurve, ...] = ()
        if self.retrain:
            config = to_hold(bench.training, shared)
            result = bench.train(shared.graph, config, arrays=shared.arrays)
            learning = (LearningCurve.of(result),)
            shared, said = self.better(before, result.model, bench)
        notes = notes_of(shared)
        figures: dict[str, Any] = {"values": values_of(shared)}
        most = max(figures["values"].values())
        summary = f"at most {most} values a layer{said}"
        return Made(shared, summary, notes, learning, figures=figures, layer_curves=curves)

    def better(self, before: Model, after: Model, bench: Workbench) -> tuple[Model, str]:
        """Returns the model with trained values, or that before where it was better, in words."""
        if bench.is_rehearsal:
            return after, ", trained"
        one, other = (accuracy(each, bench.tensors.validation) for each in (before, after))
        if other < one:
            return before, f", {percent(one)}; training them took it to {percent(other)}"
        return after, f", {percent(one)}, and trained {percent(other)}"

    def bits(self, model: Model) -> dict[str, int]:
        conv = CONV_BITS if self.conv_bits is None else self.conv_bits
        linear = LINEAR_BITS if self.linear_bits is None else self.linear_bits
        return usual_bits(model.graph, conv, linear, self.layers)

    def within_drop(
        self, model: Model, bench: Workbench, drop: float
    ) -> tuple[tuple[LayerCurve, ...], Model]:
        """Returns each layer's curve, and the model at the fewest bits that keep accuracy."""
        weights = real_weights(model)
        own = by_layer(weights, self.layers)
        names = sorted(weights.keys() - own.keys(), key=lambda each: (-weights[each].size, each))
        validation, seed = bench.tensors.validation, bench.training.seed
        few = validation.take(drawn_batches(validation, CURVE_IMAGES, CURVE_IMAGES)[0])
        least = accuracy(model, validation) - drop

        def change(bits: Mapping[str, float]) -> Model:
            whole = {**own, **{name: int(each) for name, each in bits.items()}}
            return share_weights(model, whole, self.init, seed=seed)

        curves = layer_curves(names, WHAT, BITS, change, lambda each: accuracy(each, few))
        _, shared = largest_within(curves, change, lambda each: accuracy(each, validation), least)
        return curves, shared


def values_of(model: Model) -> dict[str, int]:
    """Returns how many values, zero left out, the weights of each layer take."""
    return {name: len(codebook(weight)) for name, weight in real_weights(model).items()}


def notes_of(model: Model) -> tuple[LayerNote, ...]:
    return tuple(
        LayerNote(name, f"{count} values, {max(1, (count - 1).bit_length())} bits")
        for name, count in values_of(model).items()
    )
