"""Step ``factorise``: layers as several smaller ones, where the device is faster for it.

*Source:* see `search_spaces.compression.low_rank`; what is approximated on data, Zhang et al.,
"Accelerating Very Deep Convolutional Networks", TPAMI 2016, https://arxiv.org/abs/1505.06798.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, get_args

from latency_models.devices.latency import DeviceBusyError
from nas.compression.responses import responses
from nas.compression.stop import Drop
from nas.compression.workbench import LayerNote, Made, Workbench
from nas.problem.formatting import milliseconds, percent, scaled
from nas.problem.validation import Listed
from nas.training.accuracy import accuracy
from nas.training.recipe.statistics import recomputed_norms
from search_spaces.compression.factorisation import Factorisation
from search_spaces.compression.factors import Rank
from search_spaces.compression.low_rank import (
    DATA_SCHEME,
    candidates,
    factorisable,
    substituted,
    within_macs,
)
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Conv2d, Linear

Scheme = Literal["auto", "svd", "spatial", "channel", "tucker"]
# A linear layer has one scheme, and so has a convolution of 1x1, whatever is asked for.
KINDS: dict[str, tuple[str, ...]] = {
    "svd": ("svd", "channel_out"),
    "spatial": ("spatial", "svd"),
    "channel": ("channel_in", "channel_out", "svd"),
    "tucker": ("tucker", "svd"),
}
ENERGIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # tried in order for an accuracy
USUAL_ENERGY = 0.9
TIMED_SCHEMES = 2  # of a layer: those of the fewest multiply-accumulates
FASTER = 0.99  # of the time before: less than a hundredth is noise


@dataclass(frozen=True, slots=True)
class Factorise:
    """Low-rank factorisation of layers, one after the other in the network's order.

    Attributes:
        layers: Which, by names or patterns of them.
        scheme: "auto" takes the fastest.
        energy: Share of the squared singular values that each keeps; 0.9 where nothing is said.
        rank: In its place, the rank itself.
        macs: In their place, the share of its multiply-accumulates that each may take: the
            largest rank that does.
        max_accuracy_drop: In their place, what each layer may cost alone, batch norms measured
            anew: it takes the least energy that does.
        on_data: Whether layers are approximated by what they answer to images (Zhang et al.).
    """

    layers: Listed[str] = ("*",)
    scheme: Scheme = "auto"
    energy: float | None = None
    rank: int | None = None
    macs: float | None = None
    max_accuracy_drop: Drop | None = None
    on_data: bool = False
    name: ClassVar[str] = "factorise"
    compresses: ClassVar[bool] = True
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        names = ("energy", "rank", "macs", "max_accuracy_drop")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(
                f"factorise takes one of {', '.join(names)}, got {' and '.join(given)}"
            )
        if self.scheme not in get_args(Scheme):
            raise UserError(f"scheme must be one of {', '.join(get_args(Scheme))}")
        if self.on_data and self.scheme not in ("auto", "svd"):
            raise UserError(
                f"on_data has a scheme of its own, got scheme {self.scheme!r}; leave it out"
            )
        if self.macs is not None and not 0 < self.macs < 1:
            raise UserError(
                f"macs must be a share of a layer's, above 0 and below 1, got {self.macs:g}"
            )
        if self.on_data and self.macs is not None:
            raise UserError("on_data takes energy, rank or max_accuracy_drop, got macs")
        self.ranks()  # its own checks

    def ranks(self) -> tuple[Rank | None, ...]:
        """Returns what is tried, the smallest network first; None where `macs` says it."""
        if self.macs is not None:
            return (None,)
        if self.max_accuracy_drop is not None:
            return tuple(Rank(energy=energy) for energy in ENERGIES)
        if self.rank is not None:
            return (Rank(count=self.rank),)
        return (Rank(energy=USUAL_ENERGY if self.energy is None else self.energy),)

    def run(self, model: Model, bench: Workbench) -> Made:
        before, notes, count = model, [], 0
        for name in chosen_layers(model.graph, self.layers):
            try:
                factorisable(model, name)
            except UserError as error:
                notes.append(LayerNote(name, f"left as it is: {error}"))
                continue
            made, text = self.layer(model, name, bench)
            count += made is not model
            model = made
            notes.append(LayerNote(name, text))
        if not bench.is_rehearsal and count:
            model = recomputed_norms(model, bench.tensors.train)
        one, other = network_cost(before.graph), network_cost(model.graph)
        summary = (
            f"{count} of {len(notes)} layers; {percent(1 - other.params / one.params)} of the "
            f"parameters and {percent(1 - other.macs / one.macs)} of the MACs gone"
        )
        return Made(model, summary, tuple(notes))

    def layer(self, model: Model, name: str, bench: Workbench) -> tuple[Model, str]:
        """Returns the model with a layer factorised, or as it was, and what was done."""
        why = "no scheme saves multiply-accumulates"
        if self.macs is not None:
            why = f"no scheme takes {percent(self.macs)} of its multiply-accumulates or fewer"
        for rank in self.ranks():
            found = self.saving(model, name, rank, bench)
            if not found or bench.is_rehearsal:
                best = found[0] if found else None
                break
            best, why = fastest(model, found, bench)
            if best is not None and self.is_good(model, best, bench):
                break
            if best is None:
                break  # larger ones are no faster
            best, why = None, "no rank that is faster keeps the accuracy"
        if best is None:
            return model, f"left as it is: {why}"
        return substituted(model, best), f"{best.scheme}, rank {words(best.ranks)}; {why}"

    def saving(
        self, model: Model, name: str, rank: Rank | None, bench: Workbench
    ) -> list[Factorisation]:
        """Returns what saves multiply-accumulates, the most first."""
        answers = None
        if self.on_data:
            images = 16 if bench.is_rehearsal else 512
            answers = responses(model, bench.tensors.train, [name], num_images=images)[name]
        if rank is None:
            found = within_macs(model, name, self.macs or 0.0)
        else:
            found = candidates(model, name, rank, answers)
        if self.on_data:
            kinds: tuple[str, ...] = (DATA_SCHEME,)
        else:
            kinds = tuple(found) if self.scheme == "auto" else KINDS[self.scheme]
        saving = (each for scheme, each in found.items() if scheme in kinds and each.saves)
        return sorted(saving, key=lambda each: each.macs[1])

    def is_good(self, model: Model, found: Factorisation, bench: Workbench) -> bool:
        if self.max_accuracy_drop is None:
            return True
        validation = bench.tensors.validation
        cut = recomputed_norms(substituted(model, found), bench.tensors.train)
        return accuracy(model, validation) - accuracy(cut, validation) <= self.max_accuracy_drop


def chosen_layers(graph: Graph, patterns: tuple[str, ...]) -> Iterator[str]:
    """Yields the layers that fit a pattern, in the network's order.

    Raises:
        UserError: If a pattern fits none.
    """
    layers = [node.name for node in graph.nodes if isinstance(node.operator, Conv2d | Linear)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise UserError(f"no layer is called {pattern!r}; the layers are {', '.join(layers)}")
    return (name for name in layers if any(fnmatchcase(name, each) for each in patterns))


def fastest(
    model: Model, found: list[Factorisation], bench: Workbench
) -> tuple[Factorisation | None, str]:
    """Returns what makes the network fastest, None where nothing does, and the times in words.

    Where nothing is timed, it is what takes the fewest multiply-accumulates.
    """
    try:
        before = bench.latency_ms(model)
        if before is None:
            return found[0], by_macs(found[0], "not timed")
        times = [
            (bench.latency_ms(substituted(model, each)) or before, each)
            for each in found[:TIMED_SCHEMES]
        ]
    except DeviceBusyError as error:
        return found[0], by_macs(found[0], f"not timed: {error}")
    after, best = min(times, key=lambda pair: pair[0])
    if after < FASTER * before:
        return best, f"{milliseconds(before)} to {milliseconds(after)}"
    return None, (
        f"{best.scheme} at rank {words(best.ranks)} takes {milliseconds(after)}, which is not "
        f"faster than {milliseconds(before)}"
    )


def by_macs(best: Factorisation, why: str) -> str:
    return f"{scaled(best.macs[0])} to {scaled(best.macs[1])} MACs ({why})"


def words(ranks: tuple[int, ...]) -> str:
    return " and ".join(map(str, ranks))
