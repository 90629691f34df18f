"""Step ``export``: the last network that kept its accuracy as files, each checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from latency_models.devices.latency import Latency
from nas.compression.workbench import LayerNote, Made, Workbench
from nas.export.formats import USUAL_FORMATS, check_compiler, get_formats
from nas.models.archives.forms import Entropy
from nas.problem.formatting import milliseconds, scaled
from nas.problem.validation import Listed
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class ExportFiles:
    """Files as ``nas export`` writes them.

    Attributes:
        formats: Which; all but the archive by default.
        batch: Images that the ONNX file takes at once; None takes any number.
        entropy: What codes the symbols of an archive.
    """

    formats: Listed[str] = USUAL_FORMATS
    batch: int | None = None
    entropy: Entropy = "ans"
    name: ClassVar[str] = "export"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        get_formats(self.formats)
        if self.batch is not None and self.batch < 1:
            raise UserError(f"batch must be at least 1 image, got {self.batch}")

    def run(self, model: Model, bench: Workbench) -> Made:
        if any(row.name == "tvm" for row in get_formats(self.formats)):
            check_compiler()
        if bench.is_rehearsal:
            return Made(model, f"files: {', '.join(self.formats)}")
        report = bench.export(model, self.formats, self.batch, self.entropy)
        files = [
            f"{name} {scaled(size, 'B')}{time_of(name, report.latencies)}"
            for name, size in report.sizes.items()
        ]
        right = f"{report.checks.test_correct} of {report.checks.num_test} test images right"
        notes = tuple(LayerNote(layer.name, f"model.so {layer}") for layer in report.sparse)
        figures = {"files": dict(report.sizes)}
        return Made(model, f"{', '.join(files)}; {right}", notes, figures=figures)


def time_of(name: str, latencies: Mapping[str, Latency]) -> str:
    return f" ({milliseconds(latencies[name].median_ms)})" if name in latencies else ""
