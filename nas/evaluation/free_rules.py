"""Free rules: the constraints that a graph keeps or breaks by itself, whose check costs no trial.

They are those on costs, and on latency where it is predicted and never measured before training.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from latency_models.devices.latency import Latency, NotProfiledError
from latency_models.prediction.predictor import Predictor
from nas.evaluation.feasibility import latency_rules, violations_of, why_infeasible
from nas.problem.metrics import METRICS
from nas.problem.records import RunConfig
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.graph import Graph


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the free rules say of a graph.

    Attributes:
        broken: Rules that it breaks, with the share of the limit by which it does.
        reason: The same in words; "" where it keeps all of them.
    """

    broken: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def excess(self) -> float:
        """How far it is from keeping all rules; 0 where it does."""
        return sum(self.broken.values())


KEPT = Judgement()


class FreeRules:
    """Judges graphs by the constraints that need neither training nor measuring.

    Args:
        model: Predicts latencies; it is asked only where the run never measures a candidate.
    """

    def __init__(self, config: RunConfig, model: Predictor | None = None) -> None:
        self.config = config
        self.has_costs = any(METRICS[name].phase == "cost" for name in bounded(config))
        self.model = model if config.latency.source == "predicted" else None
        self.has_latency = self.model is not None and bool(latency_rules(config))

    @property
    def names(self) -> frozenset[str]:
        """The rules that are judged, as violations name them."""
        phases = {"cost", "latency"} if self.has_latency else {"cost"}
        rules = self.config.constraints
        return frozenset(str(rule) for rule in rules if rule.metric.phase in phases)

    def judge(self, graph: Graph) -> Judgement:
        """Returns which rules a graph breaks; cheap ones are looked at first."""
        if not (self.has_costs or self.has_latency):
            return KEPT
        values: dict[str, float] = {k: float(v) for k, v in graph_values(graph).items()}
        judgement = self.judgement(values)
        if judgement.broken or not self.has_latency:
            return judgement
        assert self.model is not None
        try:
            latency = self.model.latency(graph)
        except NotProfiledError:  # for its evaluation to say, which names the kernel
            return KEPT
        return self.judgement(values | {"latency_ms": latency.median_ms}, latency)

    def values(self, graph: Graph) -> dict[str, float]:
        """Returns the metrics that are known of a graph before it is trained or measured."""
        values = {name: float(value) for name, value in graph_values(graph).items()}
        if self.model is not None:
            with suppress(NotProfiledError):  # for its evaluation to say, which names the kernel
                values["latency_ms"] = self.model.latency(graph).median_ms
        return values

    def judgement(self, values: Mapping[str, float], latency: Latency | None = None) -> Judgement:
        exceeded = violations_of(self.config, values, latency)
        broken = {rule: excess for rule, excess in exceeded.items() if excess > 0}
        return Judgement(broken, why_infeasible(self.config, values, latency) or "")


def bounded(config: RunConfig) -> frozenset[str]:
    """Returns the names of the metrics that have a bound."""
    return frozenset(rule.metric.name for rule in config.constraints)


def graph_values(graph: Graph) -> dict[str, int]:
    """Returns the metrics that the graph alone tells."""
    values: dict[str, int] = asdict(network_cost(graph))
    values["size_bytes"] = values.pop("weight_bytes")
    return values
