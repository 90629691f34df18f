"""Compression under way: its folder, what is over, and the network as it is now."""

from dataclasses import dataclass

from nas.compression.running.bench import RunBench
from nas.compression.running.folder import CompressionFolder
from nas.compression.running.recipe import RecipeFile
from nas.compression.running.records import StepRecord
from nas.compression.running.start import Start
from nas.compression.running.summary import result_of
from nas.compression.running.watch import CompressionWatch
from nas.compression.steps.registry import WRITERS
from nas.models.folder import read_model
from search_spaces.graphs.model import Model


@dataclass(slots=True)
class Compression:
    """A compression under way.

    Attributes:
        records: Of the network that it began with, and of every step that is over.
        current: The network after the last of them.
        busy: Why the machine could not time what it was asked last; "" where it could.
    """

    start: Start
    file: RecipeFile
    folder: CompressionFolder
    watch: CompressionWatch
    bench: RunBench
    records: list[StepRecord]
    current: Model
    busy: str = ""

    @property
    def original(self) -> StepRecord:
        """What accuracy is held against: the first network that was trained."""
        return self.records[0 if self.start.is_trained else 1]

    @property
    def has_original(self) -> bool:
        return self.start.is_trained or len(self.records) > 1

    @property
    def kept(self) -> StepRecord:
        """The last network that may be the result, where it was made."""
        return result_of(self.records)[1]

    def made(self, record: StepRecord) -> StepRecord:
        """Returns the step that made the network there is after ``record``."""
        before = (each for each in reversed(self.records[: record.number + 1]) if each.made_one)
        return next(each for each in before if record.name not in WRITERS or each.is_kept)

    def model_of(self, record: StepRecord) -> Model:
        """Returns the network after a step that was run, or left out."""
        made = self.made(record)
        return read_model(self.folder.model_of(made.number, made.name)).model
