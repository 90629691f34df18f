"""Trainings of the compression benchmarks: each once, kept on disk, taken up where it was killed.

A training's files are called like it, ``NAME.safetensors`` (arrays), ``NAME.json`` (accuracy), and
``NAME.state`` while it goes on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from safetensors.numpy import load_file

from nas.data.tensors import TensorSplits
from nas.problem.training_config import TrainingConfig
from nas.runs.files import arrays_bytes, write_json, write_whole
from nas.training.accuracy import accuracy
from nas.training.loop import EpochReport, train
from nas.training.state import Recipe, TrainingState, data_fingerprint, from_bytes, to_bytes
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class Trained:
    """A network as a training left it.

    Attributes:
        accuracy: On the test images, in 0..1.
        epochs: Of this training.
    """

    model: Model
    accuracy: float
    epochs: int
    seconds: float


class Shelf:
    """The trainings of one benchmark: what is there is not trained again.

    Args:
        folder: Where they are kept.
        data: What is trained and tested on.
    """

    def __init__(self, folder: Path, data: TensorSplits) -> None:
        self.folder, self.data = folder, data
        folder.mkdir(parents=True, exist_ok=True)
        self._print = data_fingerprint(data)

    def trained(
        self,
        name: str,
        graph: Graph,
        config: TrainingConfig,
        *,
        start: Model | None = None,
        teacher: Model | None = None,
    ) -> Trained:
        """Returns the network of a training, which is run where its result is not there."""
        weights = self.folder / f"{name}.safetensors"
        about = self.folder / f"{name}.json"
        if about.exists():
            known = json.loads(about.read_text())
            return Trained(Model(graph, load_file(weights)), **known)
        began = perf_counter()
        result = train(
            graph,
            self.data,
            config,
            arrays=start.arrays if start is not None else None,
            teacher=teacher,
            state=self._state(name, graph, config),
            on_state=self._keeper(name, graph, config),
            on_epoch=lambda report: say(name, report, perf_counter() - began),
        )
        known = {
            "accuracy": accuracy(result.model, self.data.test),
            "epochs": result.epochs_run,
            "seconds": result.seconds,
        }
        write_whole(weights, arrays_bytes(result.model.arrays))
        write_json(about, known)
        (self.folder / f"{name}.state").unlink(missing_ok=True)
        print(f"{name}: test {known['accuracy']:.4f}, {known['seconds']:.0f} s", flush=True)
        return Trained(result.model, **known)

    def _recipe(self, graph: Graph, config: TrainingConfig) -> Recipe:
        return Recipe(graph, config, self._print, self.data.train.device.type)

    def _state(self, name: str, graph: Graph, config: TrainingConfig) -> TrainingState | None:
        path = self.folder / f"{name}.state"
        if not path.exists():
            return None
        return from_bytes(path.read_bytes(), self._recipe(graph, config))

    def _keeper(
        self, name: str, graph: Graph, config: TrainingConfig
    ) -> Callable[[Callable[[], TrainingState]], None]:
        recipe = self._recipe(graph, config)

        def keep(state: Callable[[], TrainingState]) -> None:
            now = state()
            if now.epochs < config.epochs:  # after the last there is nothing to go on with
                write_whole(self.folder / f"{name}.state", to_bytes(now, recipe))

        return keep


def say(name: str, report: EpochReport, seconds: float) -> None:
    print(
        f"{name}: epoch {report.epoch}/{report.epochs}, loss {report.train_loss:.4f}, "
        f"validation {report.validation_accuracy:.4f}, {seconds:.0f} s",
        flush=True,
    )
