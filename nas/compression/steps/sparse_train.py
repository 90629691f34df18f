"""Step ``sparse_train``: training with a penalty on norms' scales, so that idle channels show.

*Source:* Liu et al., "Network Slimming", ICCV 2017, https://arxiv.org/abs/1708.06519; the penalty
is that of `nas.training.sparsity`, its weight is found as `nas.compression.scales` says.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from nas.compression.scales import BINS, first_weight, histogram, scale_sizes, small_share
from nas.compression.stop import Drop
from nas.compression.workbench import LearningCurve, Made, Workbench
from nas.problem.formatting import percent
from nas.training.accuracy import accuracy
from nas.training.holding import to_hold
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model

CHANGED_BY = 3.0  # from round to round


@dataclass(frozen=True, slots=True)
class SparseTrain:
    """Training under the penalty, once with a given weight, or in rounds with a raised one.

    Attributes:
        norm_l1: Weight of the penalty; "auto" finds it.
        ratio: Share of the scales that is wanted below 1 % of the largest, where it is found.
        rounds: How many trainings that may take, each from where the last good one ended.
        max_accuracy_drop: A round that costs more is taken back, and the weight lowered.
    """

    norm_l1: float | Literal["auto"] = "auto"
    ratio: float = 0.5
    rounds: int = 3
    max_accuracy_drop: Drop = 0.05
    name: ClassVar[str] = "sparse_train"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.norm_l1 != "auto" and not self.norm_l1 > 0:
            raise UserError(f"norm_l1 must be above 0, or auto, got {self.norm_l1:g}")
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio must be between 0 and 1, got {self.ratio:g}")
        if self.rounds < 1:
            raise UserError(f"rounds must be at least 1, got {self.rounds}")

    def run(self, model: Model, bench: Workbench) -> Made:
        before = scale_sizes(model)
        if not len(before):
            raise UserError(
                "sparse_train needs batch norms, the network has none (an export has them folded "
                "in); give the network as it was trained, or leave the step out and prune by l2 "
                "or taylor"
            )
        if self.norm_l1 == "auto" and not bench.is_rehearsal:
            model, curves, said = self.in_rounds(model, bench)
        else:
            weight = 1e-4 if self.norm_l1 == "auto" else self.norm_l1
            model, curve = trained(model, bench, weight)
            curves, said = [curve], f"norm_l1 {weight:.2g}"
        after = scale_sizes(model)
        share, top = small_share(after), max(before.max(), after.max())
        edges = tuple(top * n / BINS for n in range(BINS + 1))
        summary = f"{said}: {percent(share)} of the scales below 1 % of the largest"
        return Made(
            model,
            f"{summary}, {percent(curves[-1].validation_accuracy[-1])} in the last epoch",
            curves=tuple(curves),
            histograms={
                "before sparse training": histogram(before, edges),
                "after sparse training": histogram(after, edges),
            },
            figures={"small_share": share},
        )

    def in_rounds(self, model: Model, bench: Workbench) -> tuple[Model, list[LearningCurve], str]:
        """Returns the network after the last round that did not cost too much."""
        weight = first_weight(model, bench.tensors.train, bench.training, self.ratio)
        least = accuracy(model, bench.tensors.validation) - self.max_accuracy_drop
        found, curves = None, []
        for _ in range(self.rounds):
            tried, curve = trained(model, bench, weight)
            curves.append(curve)
            if curve.validation_accuracy[-1] < least:
                if found is not None:
                    break
                weight /= CHANGED_BY
                continue
            model, found = tried, weight
            if small_share(scale_sizes(model)) >= self.ratio:
                break
            weight *= CHANGED_BY
        if found is None:
            drop = 100 * self.max_accuracy_drop
            said = f"taken back: each of {len(curves)} weights cost more than {drop:g} points"
            return model, curves, said
        return model, curves, f"norm_l1 {found:.2g}, found in {len(curves)} rounds"


def trained(model: Model, bench: Workbench, weight: float) -> tuple[Model, LearningCurve]:
    what = f"norm_l1 {weight:.2g}"
    config = replace(to_hold(bench.training, model), norm_l1=weight)
    result = bench.train(model.graph, config, arrays=model.arrays, what=what)
    return result.model, LearningCurve.of(result, what)
