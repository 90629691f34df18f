"""Step ``prune_weights``: single weights set to zero, in rounds, each trained on without them.

*Source:* Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NIPS
2015, https://arxiv.org/abs/1506.02626, section 3: pruning and training on, several times, leaves
fewer weights than at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nas.compression.layer_curves import LayerCurve, largest_within, layer_curves
from nas.compression.stop import Drop
from nas.compression.workbench import LayerNote, LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from nas.training.accuracy import accuracy
from nas.training.holding import to_hold
from nas.training.recipe.statistics import drawn_batches, recomputed_norms
from search_spaces.compression.selection import Scope
from search_spaces.compression.weight_pruning import (
    Rule,
    by_layer,
    check_amount,
    kept_share,
    kept_weights,
    prune_weights,
)
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model

RULES: tuple[Rule, ...] = ("ratio", "threshold", "sensitivity")
# Shares of a layer's weights that are tried where a drop is stated.
RATIOS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99)
CURVE_IMAGES = 1000  # of the validation split that curves are of
WHAT = "share of weights at zero"


@dataclass(frozen=True, slots=True)
class PruneWeights:
    """Pruning of single weights by magnitude.

    Attributes:
        ratio: Share of the weights that is zero in the end.
        threshold: Magnitude below which weights go.
        sensitivity: That over the standard deviation of the layer's weights.
        max_accuracy_drop: In their place, what all layers together may cost before they are
            trained on: each takes the ratio that this allows. A round that has lost more after
            its training is taken back.
        scope: Of a ratio: "global" ranks all layers together, "layer" takes the same of each.
        layers: Other amounts, by names of layers or patterns; 0 leaves one as it is.
        rounds: How often weights are pruned, ever more, and trained on; 0 prunes only.
    """

    ratio: float | None = None
    threshold: float | None = None
    sensitivity: float | None = None
    max_accuracy_drop: Drop | None = None
    scope: Scope = "global"
    layers: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 1
    name: ClassVar[str] = "prune_weights"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = (*RULES, "max_accuracy_drop")
        given = [name for name in known if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                f"prune_weights needs one of {', '.join(known)}, got "
                f"{' and '.join(given) or 'none'}"
            )
        rule, amount = self.rule
        for each in (amount, *self.layers.values()):
            check_amount(rule, each)
        if self.rounds < 0:
            raise UserError(f"rounds must be at least 0, got {self.rounds}")

    @property
    def rule(self) -> tuple[Rule, float]:
        """What is pruned by, and how much; where a drop is stated, ratios of each layer."""
        for rule in RULES:
            if (amount := getattr(self, rule)) is not None:
                return rule, amount
        return "ratio", 0.0

    def run(self, model: Model, bench: Workbench) -> Made:
        if bench.is_rehearsal:
            return self.rehearsed(model, bench)
        if self.max_accuracy_drop is not None:
            return self.within_drop(model, bench, self.max_accuracy_drop)
        learning = []
        for number in range(1, max(1, self.rounds) + 1):
            model = self.pruned(model, number / max(1, self.rounds), bench)
            if self.rounds:
                model, curve = trained(model, bench, f"round {number} of {self.rounds}")
                learning.append(curve)
        return made(model, "", learning)

    def pruned(self, model: Model, progress: float, bench: Workbench) -> Model:
        """Returns the model as a round prunes it, batch norms measured anew.

        Args:
            progress: Share of the rounds that is over with this one. What is kept falls by the
                same factor in each, thresholds rise in a line.
        """
        rule, amount = self.rule
        own = {name: share_of(rule, each, progress) for name, each in self.layers.items()}
        whole = share_of(rule, amount, progress)
        cut = prune_weights(model, rule, whole, scope=self.scope, exceptions=own)
        return recomputed_norms(cut, bench.tensors.train)

    def within_drop(self, model: Model, bench: Workbench, drop: float) -> Made:
        least = accuracy(model, bench.tensors.validation) - drop
        found: list[LayerCurve] = []
        learning: list[LearningCurve] = []
        said = ""
        for number in range(1, max(1, self.rounds) + 1):
            curves, cut = self.chosen(model, bench, least)
            found = found or list(curves)
            if kept_share(cut) == kept_share(model):
                said = f"; no more could go in round {number}"
                break
            if not self.rounds:
                return made(cut, "", (), found)
            tried, curve = trained(cut, bench, f"round {number} of {self.rounds}")
            learning.append(curve)
            if accuracy(tried, bench.tensors.validation) < least:
                said = f"; round {number} taken back, which cost too much"
                break
            model = tried
        return made(model, said, learning, found)

    def chosen(
        self, model: Model, bench: Workbench, least: float
    ) -> tuple[tuple[LayerCurve, ...], Model]:
        """Returns each layer's curve, and the model pruned as far as keeps an accuracy."""
        sizes = {name: of for name, (_, of) in kept_weights(model).items()}
        own = by_layer(sizes, self.layers)
        names = sorted(sizes.keys() - own.keys(), key=lambda name: (-sizes[name], name))
        validation = bench.tensors.validation
        few = validation.take(drawn_batches(validation, CURVE_IMAGES, CURVE_IMAGES)[0])

        def change(ratios: Mapping[str, float]) -> Model:
            return prune_weights(model, "ratio", 0, exceptions={**own, **ratios})

        def anew(ratios: Mapping[str, float]) -> Model:
            return recomputed_norms(change(ratios), bench.tensors.train)

        curves = layer_curves(names, WHAT, RATIOS, change, lambda each: accuracy(each, few))
        _, cut = largest_within(curves, anew, lambda each: accuracy(each, validation), least)
        return curves, cut

    def rehearsed(self, model: Model, bench: Workbench) -> Made:
        """Tries what the recipe says on the weights that are there, which may be no trained ones.

        A threshold says nothing of such weights, so half of each layer stands for it.
        """
        by_layer(kept_weights(model), self.layers)
        ratio = 0.5 if self.ratio is None else self.ratio
        cut = prune_weights(model, "ratio", ratio, scope="layer")
        for number in range(1, self.rounds + 1):
            trained(cut, bench, f"round {number} of {self.rounds}")
        return made(cut, "", ())


def share_of(rule: Rule, amount: float, progress: float) -> float:
    """Returns the amount of a round.

    >>> round(share_of("ratio", 0.96, 0.5), 6), share_of("threshold", 0.1, 0.5)
    (0.8, 0.05)
    """
    return 1 - (1 - amount) ** progress if rule == "ratio" else amount * progress


def trained(model: Model, bench: Workbench, what: str) -> tuple[Model, LearningCurve]:
    config = to_hold(bench.training, model)
    result = bench.train(model.graph, config, arrays=model.arrays, what=what)
    return result.model, LearningCurve.of(result, what)


def made(
    model: Model,
    said: str,
    learning: list[LearningCurve] | tuple[LearningCurve, ...],
    curves: list[LayerCurve] | tuple[LayerCurve, ...] = (),
) -> Made:
    layers = kept_weights(model)
    kept, of = (sum(each) for each in zip(*layers.values(), strict=True))
    summary = f"{percent(kept / of)} of the weights kept, {kept} of {of}"
    if learning:
        summary += f", trained on in {len(learning)} rounds"
    notes = tuple(
        LayerNote(name, f"{percent(left / whole)} of {whole} weights kept")
        for name, (left, whole) in layers.items()
    )
    figures: dict[str, Any] = {
        "kept": kept / of,
        "layers_kept": {name: left / whole for name, (left, whole) in layers.items()},
    }
    return Made(
        model, summary + said, notes, tuple(learning), figures=figures, layer_curves=tuple(curves)
    )
