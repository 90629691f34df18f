"""Step ``prune``: channels taken out for real, and batch norms measured anew."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, get_args

from latency_models.devices.device import cpu_of, get_device
from nas.compression.scores import taylor_scores
from nas.compression.workbench import LayerNote, Made, Workbench
from nas.problem.formatting import percent, scaled
from nas.problem.validation import Listed
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.compression.channels import ChannelGroup, channel_groups
from search_spaces.compression.importance import CRITERIA, Scores, importance
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.selection import Measure, Rules, Scope, Selection, select
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model

Importance = Literal["norm_scale", "l1", "l2", "taylor"]
FEW = 64  # images that a rehearsal scores on


@dataclass(frozen=True, slots=True)
class Prune:
    """Structured pruning, of as many channels as a ratio or a target asks for.

    Attributes:
        ratio: Share of the channels that goes.
        macs, params: What is to be left: a number, or up to 1 a share of what there is.
        importance: What says which channels go; see `search_spaces.compression.importance`.
        scope: "global" ranks the whole network, "layer" takes the same share of each.
        floor: Share of its channels that each layer keeps at least.
        multiple: What widths become multiples of; "device" takes the numbers of one vector.
        exclude: Layers that keep all channels, by names or patterns of them.
    """

    ratio: float | None = None
    macs: float | None = None
    params: float | None = None
    importance: Importance = "norm_scale"
    scope: Scope = "global"
    floor: float = 0.1
    multiple: int | Literal["device"] = "device"
    exclude: Listed[str] = ()
    name: ClassVar[str] = "prune"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        given = [name for name in ("ratio", "macs", "params") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                f"prune needs one of ratio, macs and params, got {' and '.join(given) or 'none'}"
            )
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise UserError(
                f"ratio must be above 0 and below 1, so that something is left, got {self.ratio:g}"
            )
        for name in ("macs", "params"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0, got {value:g}")
        if self.importance not in get_args(Importance):
            raise UserError(
                f"importance must be one of {', '.join(CRITERIA)}, got {self.importance!r}"
            )
        Rules(self.scope, self.floor, 1 if self.multiple == "device" else self.multiple)

    def run(self, model: Model, bench: Workbench) -> Made:
        graph = model.graph
        groups = channel_groups(graph)
        scores = importance(model, groups, self.importance, self.given_scores(model, bench))
        for name in excluded(graph, groups, self.exclude):
            scores.pop(name, None)
        ratio, of = self.target(graph)
        multiple = device_multiple(bench) if self.multiple == "device" else self.multiple
        chosen = select(graph, scores, ratio, of, Rules(self.scope, self.floor, multiple))
        cut = remove_channels(model, chosen.gone)
        figures: dict[str, Any] = {"multiple": multiple}
        summary = described(graph, cut.graph)
        if not bench.is_rehearsal:
            before = accuracy(cut, bench.tensors.validation)
            cut = recomputed_norms(cut, bench.tensors.train)
            after = accuracy(cut, bench.tensors.validation)
            figures |= {"accuracy_cut": before, "accuracy_norms_recomputed": after}
            summary += f"; {percent(before)}, with norms measured anew {percent(after)}"
        return Made(cut, summary, notes_of(chosen), figures=figures)

    def given_scores(self, model: Model, bench: Workbench) -> Scores | None:
        if self.importance != "taylor":
            return None
        train = bench.tensors.train
        found = (
            taylor_scores(model, train, num_images=FEW)
            if bench.is_rehearsal
            else taylor_scores(model, train)
        )
        return {name: score.astype(float) for name, score in found.items()}

    def target(self, graph: Graph) -> tuple[float, Measure]:
        """Returns the share that goes, and what it is a share of."""
        if self.ratio is not None:
            return self.ratio, "channels"
        of: Measure = "macs" if self.macs is not None else "params"
        wanted, cost = getattr(self, of), network_cost(graph)
        has = getattr(cost, of)
        left = wanted if wanted > 1 else wanted * has
        if left >= has:
            raise UserError(
                f"{of} must be below what the network has ({scaled(has)}), got {scaled(left)}; "
                "lower it, or leave the step out"
            )
        return 1 - left / has, of


def excluded(
    graph: Graph, groups: tuple[ChannelGroup, ...], patterns: tuple[str, ...]
) -> list[str]:
    """Returns the groups with a layer that fits a pattern.

    Raises:
        UserError: If a pattern fits none.
    """
    found = []
    layers = dict.fromkeys(name for group in groups for name in group.producers)
    for pattern in patterns:
        fitting = {name for name in layers if fnmatchcase(name, pattern)}
        if not fitting:
            raise UserError(
                f"no layer whose channels can go is called {pattern!r}; they are "
                f"{', '.join(layers)}"
            )
        found += [group.name for group in groups if fitting & set(group.producers)]
    return found


def device_multiple(bench: Workbench) -> int:
    """Returns how many float32 numbers a vector of the device holds."""
    device = get_device(bench.latency.device)
    if device.threads != 1:  # what it is compiled for is not known
        raise UserError(
            f"device {device.name} has {device.threads} threads, and no multiple that is known of "
            "it; give multiple a number, 16 or 8 are usual"
        )
    return cpu_of(device).vector_unit.lanes


def described(before: Graph, after: Graph) -> str:
    """Returns what of a network is left, in words."""
    one, other = network_cost(before), network_cost(after)
    return (
        f"{percent(1 - other.params / one.params)} of the parameters and "
        f"{percent(1 - other.macs / one.macs)} of the MACs gone"
    )


def notes_of(chosen: Selection) -> tuple[LayerNote, ...]:
    """Returns a note for each layer of which nothing went."""
    return tuple(
        LayerNote(name, "kept whole" if cut.scores is None else "nothing went")
        for cut in chosen.cuts
        for name, (before, after) in cut.layers.items()
        if before == after
    )
