"""Records: what is known of a network before and after each step, as it is kept on disk."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.compression.layer_curves import LayerCurve
from nas.compression.steps.registry import WRITERS
from nas.compression.workbench import Histogram, LayerNote, LearningCurve
from search_spaces.graphs.cost import MACS, count_node_params
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.schema import read_as


@dataclass(frozen=True, slots=True)
class Standing:
    """What a network is worth.

    Attributes:
        accuracy: On the validation images.
        scores: Every metric of answers, by name.
        test_accuracy: Told at the end; no choice is made by it.
        bytes: Of its weights as stored.
        num_validation, num_test: How many images the accuracies are of.
        latency: As `latency_models.devices.latency.to_json` has it; None where it was not timed.
        not_measured: Why there is no latency; "" where there is one.
        archive_bytes: What it takes as an archive; None of records older than those.
        is_archived: Whether such a file was written; else its size is estimated.
    """

    accuracy: float
    scores: Mapping[str, float]
    test_accuracy: float | None
    params: int
    macs: int
    bytes: int
    num_validation: int
    num_test: int
    latency: Mapping[str, Any] | None = None
    not_measured: str = ""
    archive_bytes: int | None = None
    is_archived: bool = False

    @property
    def latency_ms(self) -> float | None:
        return None if self.latency is None else float(self.latency["median_ms"])

    @property
    def values(self) -> dict[str, float]:
        """What constraints are held against, by the name of the metric."""
        costs = {"params": self.params, "macs": self.macs, "size_bytes": self.bytes}
        found: dict[str, float] = {**costs, **self.scores, "accuracy": self.accuracy}
        known = {"latency_ms": self.latency_ms, "archive_bytes": self.archive_bytes}
        return found | {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer before and after a step; None where there was or is none of its name."""

    layer: str
    channels: tuple[int | None, int | None]
    macs: tuple[int | None, int | None]
    params: tuple[int | None, int | None]
    precision: tuple[str | None, str | None]
    note: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step that is over.

    Attributes:
        number: Counted from 1; 0 is the network that the recipe began with.
        settings: As the recipe says them.
        skipped: Why it was left out; "" where it was run.
        layers: Those that changed, or that there is something to say of.
        is_kept: Whether its network may be the result: False where accuracy has fallen too far,
            None right after a cut, where nobody has looked.
    """

    number: int
    name: str
    settings: Mapping[str, Any]
    summary: str
    skipped: str
    standing: Standing
    seconds: float
    is_kept: bool | None
    layers: tuple[LayerChange, ...] = ()
    curves: tuple[LearningCurve, ...] = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    layer_curves: tuple[LayerCurve, ...] = ()

    @property
    def made_one(self) -> bool:
        """Whether it made a network of its own."""
        return not self.skipped and self.name not in WRITERS

    @property
    def title(self) -> str:
        return f"{self.number} {self.name}"


def to_json(record: StepRecord) -> dict[str, Any]:
    return asdict(record)


def from_json(data: Mapping[str, Any]) -> StepRecord:
    """Returns the record that ``data`` holds.

    Raises:
        UserError: If a value is none of its kind.
    """
    found: StepRecord = read_as(StepRecord, data, "step")
    return found


def layer_changes(
    before: Graph, after: Graph, notes: tuple[LayerNote, ...] = ()
) -> tuple[LayerChange, ...]:
    """Returns a row for each layer that is another now, or that there is a note of.

    Layers are told by their names, in the order of the network before, new ones behind.
    """
    said = {note.layer: note.text for note in notes}
    ours, theirs = measures(before), measures(after)
    rows = []
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name, NOTHING), theirs.get(name, NOTHING)
        if one != other or name in said:
            rows.append(
                LayerChange(
                    name,
                    (one.channels, other.channels),
                    (one.macs, other.macs),
                    (one.params, other.params),
                    (one.precision, other.precision),
                    said.get(name, ""),
                )
            )
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class Measures:
    """A layer of a graph; None of each where there is no such layer."""

    channels: int | None = None
    macs: int | None = None
    params: int | None = None
    precision: str | None = None


NOTHING = Measures()


def measures(graph: Graph) -> dict[str, Measures]:
    """Returns what each layer of a graph is, by its name."""
    found = {}
    for node in graph.nodes:
        op = node.operator
        if isinstance(op, Conv2d | Linear):
            macs = MACS[type(op)](op, graph.input_shapes(node), node.shape)
            params = count_node_params(graph, node)
            found[node.name] = Measures(node.shape[0], macs, params, str(op.precision))
    return found
