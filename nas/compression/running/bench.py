"""Bench: the workbench of a run, whose trainings are kept after each epoch and gone on with."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from latency_models.devices.device import get_device
from latency_models.devices.latency import Latency
from latency_models.devices.lock import making_way
from nas.compression.running.folder import CompressionFolder
from nas.compression.running.recipe import RecipeStep
from nas.compression.running.step_setting import StepSetting
from nas.compression.running.watch import CompressionWatch, EpochDone, TimeLeft
from nas.export.formats import Measurers
from nas.export.network import network_of_model
from nas.export.write import ExportReport, ship
from nas.models.archives.archive import read_archive, write_archive
from nas.models.archives.forms import Entropy
from nas.models.folder import fingerprint
from nas.problem.training_config import TrainingConfig
from nas.training.checkpoints import FolderCheckpoints
from nas.training.loop import EpochReport, TrainingResult, go_on, train
from nas.training.state import (
    DamagedStateError,
    Recipe,
    TrainingState,
    data_fingerprint,
    from_bytes,
    to_bytes,
)
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, Model
from search_spaces.space.architecture import graph_hash


@dataclass(slots=True)
class RunBench(StepSetting):
    """The workbench of a run, set to one step after the other.

    Attributes:
        measurers: None where nothing is to be timed.
        find_original: Reads the network that the recipe began with, trained.
    """

    folder: CompressionFolder
    watch: CompressionWatch
    time_left: TimeLeft
    measurers: Measurers | None
    find_original: Callable[[], Model]
    is_rehearsal: bool = False
    _trainings: int = field(default=0, init=False)
    _data: str = field(default="", init=False)
    _times: dict[str, Latency] = field(default_factory=dict, init=False)

    def set_to(self, step: RecipeStep) -> None:
        self.step, self._trainings = step, 0

    def original(self) -> Model:
        return self.find_original()

    def train(
        self,
        graph: Graph,
        config: TrainingConfig,
        *,
        arrays: Mapping[str, Array] | None = None,
        teacher: Model | None = None,
        what: str = "",
    ) -> TrainingResult:
        assert self.step is not None
        title, number, index = self.step.title, self.step.number, self._trainings
        self._trainings += 1
        belongs = Recipe(graph, config, self.data, self.tensors.train.device.type)
        checkpoints = FolderCheckpoints(self.folder.checkpoints)
        key = hashlib.sha256(f"{number} {index}".encode()).hexdigest()[:16]
        state = self.kept(checkpoints, key, belongs)
        before = 0 if state is None else state.epochs

        def show(report: EpochReport) -> None:
            run_here = max(1, report.epoch - before)
            left_s = self.time_left.after(number, index, report.epoch, run_here)
            self.watch.on_epoch(EpochDone(title, what, report, left_s))

        self.time_left.begin()
        on_gpu = self.tensors.train.device.type == "cuda"
        with nullcontext(go_on) if on_gpu else making_way() as make_way:
            return train(
                graph,
                self.tensors,
                config,
                arrays=arrays,
                teacher=teacher,
                on_epoch=show,
                before_step=make_way,
                state=state,
                on_state=lambda make: checkpoints.save(key, to_bytes(make(), belongs)),
            )

    def kept(
        self, checkpoints: FolderCheckpoints, key: str, belongs: Recipe
    ) -> TrainingState | None:
        """Returns where a training was when it was stopped; None where it begins."""
        content = checkpoints.load(key)
        if content is None:
            return None
        try:
            return from_bytes(content, belongs)
        except DamagedStateError as error:
            self.watch.say(f"a training begins from its start again: {error}")
            return None

    @property
    def data(self) -> str:
        self._data = self._data or data_fingerprint(self.tensors)
        return self._data

    def latency_ms(self, model: Model) -> float | None:
        return None if self.measurers is None else self.timed(model, self.measurers).median_ms

    def has_timed(self, model: Model) -> bool:
        return graph_hash(model.graph) in self._times

    def timed(self, model: Model, measurers: Measurers) -> Latency:
        """Returns what a network takes on the device; of equal graphs only the first is timed.

        Raises: as `latency_ms`, and MeasurementError if the device cannot run it.
        """
        key = graph_hash(model.graph)
        if key not in self._times:
            runtime = self.latency.runtime or get_device(self.latency.device).runtime
            self._times[key] = measurers.open(runtime).latency(model)
        return self._times[key]

    def export(
        self, model: Model, formats: tuple[str, ...], batch: int | None, entropy: Entropy
    ) -> ExportReport:
        title = self.recipe.name if self.step is None else self.step.title
        source = {"from": "compression", "recipe": self.recipe.name}
        stored = self.start.stored_as(self.recipe.name, model, source)
        return ship(
            network_of_model(stored, self.start.examples, self.latency),
            self.folder.export,
            formats,
            self.start.examples,
            measure=self.measurers is not None,
            batch=batch,
            entropy=entropy,
            say=lambda text: self.watch.on_step(f"{title}: {text}"),
        )

    def archive(self, model: Model, entropy: Entropy, file: str) -> Path:
        source = {"from": "compression", "recipe": self.recipe.name}
        place = self.folder.path / file
        write_archive(place, self.start.stored_as(self.recipe.name, model, source), entropy)
        assert fingerprint(read_archive(place).model) == fingerprint(model), place
        return place

    def say(self, text: str) -> None:
        self.watch.say(text)
