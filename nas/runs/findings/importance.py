"""Gene importance: which decisions tell the best architectures of a run from the others.

Source: Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces", IJCAI 2023, https://arxiv.org/abs/2304.10255, with the treatment of
conditional genes of "Conditional PED-ANOVA", KDD 2026, https://arxiv.org/abs/2601.20800, as Optuna
has them.
Differs from the paper: values that no trial took are unknown here, so a gene's domain is what the
run has tried.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from nas.problem.metrics import Metric
from nas.study.results import TrialResult

BEST_SHARE = 0.25
MIN_BEST = 5  # Optuna's advice for a stable estimate


@dataclass(frozen=True, slots=True)
class Importance:
    """What was decisive for one objective.

    Attributes:
        genes: Gene to importance, largest first; they sum to 1, or are all 0 where nothing tells
            good from bad.
        num_trials: Trials that the estimate rests on.
    """

    metric: Metric
    genes: tuple[tuple[str, float], ...]
    num_trials: int

    @property
    def kinds(self) -> tuple[tuple[str, float], ...]:
        """The sum over all genes of a kind, e.g. every layer's ``kernel_size``."""
        sums: dict[str, float] = {}
        for gene, value in self.genes:
            kind = gene_kind(gene)
            sums[kind] = sums.get(kind, 0.0) + value
        return tuple(sorted(sums.items(), key=lambda item: -item[1]))


def gene_kind(gene: str) -> str:
    """
    >>> gene_kind("stage0.layer1.fire.expand_ratio")
    'expand_ratio'
    """
    return gene.rpartition(".")[2]


def trials_needed() -> int:
    """Returns how many trials with a value it takes until the best share holds enough of them."""
    return ceil((MIN_BEST - 1) / BEST_SHARE) + 1


def gene_importance(trials: Sequence[TrialResult], metric: Metric) -> Importance | None:
    """Returns the importance of every gene for ``metric``; None with too few trials.

    Left out are trials without genes (networks from outside the space), without the value, or, for
    what training tells, those whose training was stopped early.
    """
    whole = [t for t in trials if metric.phase != "training" or t.evaluation.status != "stopped"]
    known = [trial for trial in whole if trial.genes and metric.name in trial.evaluation.values]
    if len(known) < trials_needed():
        return None
    raw = evaluated(known, metric)
    total = sum(raw.values())
    ranked = sorted(raw.items(), key=lambda item: (-item[1], item[0]))
    shares = tuple((gene, value / total if total > 0 else 0.0) for gene, value in ranked)
    return Importance(metric, shares, len(known))


def evaluated(trials: Sequence[TrialResult], metric: Metric) -> dict[str, float]:
    domains = gene_domains(trials)
    with warnings.catch_warnings():
        # Optuna warns of genes that hardly any trial has; they get what little they explain.
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of its new study
        study = optuna.create_study(direction=metric.direction)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=dict(trial.genes),
                    distributions={gene: domains[gene] for gene in trial.genes},
                    value=trial.evaluation.values[metric.name],
                )
                for trial in trials
            ]
        )
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        return get_param_importances(study, evaluator=evaluator, normalize=False)


def gene_domains(trials: Sequence[TrialResult]) -> dict[str, BaseDistribution]:
    values: dict[str, set[int | float | str]] = {}
    for trial in trials:
        for gene, value in trial.genes.items():
            values.setdefault(gene, set()).add(value)
    return {
        gene: CategoricalDistribution(sorted(found, key=lambda value: (str(type(value)), value)))
        for gene, found in values.items()
    }
