"""Dry run: one random architecture through every step of a search, in seconds.

It finds what would stop a search hours later: wrong paths, images that do not fit, a compiler
that is missing, a file that cannot be written.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter

from latency_models.devices.latency import DeviceBusyError, Latency
from latency_models.measurement.measurer import KernelLatency
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.instruments import (
    Instruments,
    make_source,
    needs_latency,
    open_measurer,
    slowed_down,
)
from nas.evaluation.latency import NetworkTimer
from nas.evaluation.supernet import check_supernet
from nas.models.archives.archive import archive_bytes
from nas.models.folder import ModelInput, StoredModel
from nas.models.given.setting import load_whole_setting
from nas.problem.formatting import in_words, milliseconds
from nas.problem.metrics import ARCHIVE_BYTES
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, to_yaml
from nas.problem.search_problem import Setting
from nas.runs.evaluation import Evaluation
from nas.runs.findings.learn_from import earlier_runs
from nas.runs.folder import RunFolder, create_run
from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import LeftOver
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture
from search_spaces.space.staged import count_architectures

Say = Callable[[str], None]


def dry_run(file: RunFile, *, runs: Path = Path("runs"), say: Say = print) -> Evaluation:
    """Takes a random architecture through cost, latency, one epoch of training, and its files.

    Nothing is left behind.

    Args:
        runs: Where the search would make its folder.

    Raises:
        UserError: At the first step that does not work.
    """
    config = file.config()
    clock = Clock(say)
    earlier_runs(config, RunFolder(runs / file.name), clock.done)
    setting = load_whole_setting(config)
    clock.done(
        f"data: {len(setting.splits.train)} train, {len(setting.splits.validation)} validation, "
        f"{len(setting.splits.test)} test images of {setting.splits.train.num_classes} classes"
    )
    for note in setting.notes:
        say(f"           {note}")
    clock.done(f"space: {in_words(count_architectures(setting.space))} architectures")
    for note in check_supernet(config, setting, RunFolder(runs / file.name)):
        clock.done(note)
    clock.done(f"baselines: {', '.join(setting.baselines) or 'none'}")
    rng = Random(config.search.seed)
    architecture = LeftOver(setting.space, Gate()).find(lambda _: True, rng)
    with TemporaryDirectory() as folder:
        run = create_run(Path(folder) / config.name, to_yaml(file))
        evaluation = try_architecture(config, setting, run, architecture, clock)
    say("every step works; start the search without --dry-run")
    return evaluation


def try_architecture(
    config: RunConfig, setting: Setting, run: RunFolder, architecture: Architecture, clock: "Clock"
) -> Evaluation:
    one_epoch = replace(
        config, training=replace(config.training, epochs=1, warmup_epochs=0), constraints=()
    )
    key = graph_hash(architecture.graph)
    checkpoints = FolderCheckpoints(run.checkpoints)
    training = LocalTraining(one_epoch, setting.tensors, checkpoints, teacher=setting.teacher)
    if not needs_latency(config):
        evaluation = Evaluator(one_epoch, training, None, run).evaluate(architecture)
    else:
        if slowed := slowed_down(config):
            clock.note(slowed, 0.0)
        with open_measurer(config) as measurer:
            model = Instruments().needed_model(config)
            source = make_source(one_epoch, run, OneWait(measurer), model)
            evaluation = Evaluator(one_epoch, training, source, run).evaluate(architecture)
            if evaluation.feasible:
                measurer.export(run.load_model(key), run.path / "model.so")
    if not evaluation.feasible:
        raise UserError(f"architecture {key} cannot be evaluated: {evaluation.reason}")
    for phase, seconds in evaluation.seconds.items():
        clock.note(f"{phase}: architecture {key}", seconds)
    if evaluation.predicted is not None:
        clock.done(f"latency model: predicted {milliseconds(evaluation.predicted.median_ms)}")
    if ARCHIVE_BYTES in evaluation.values:
        size = len(archive_bytes(undescribed(run.load_model(key))))
        estimate = round(evaluation.values[ARCHIVE_BYTES])
        clock.done(f"archive: {size:,} bytes, estimated at {estimate:,}")
    clock.done("files: weights and compiled network written and read back")
    return evaluation


def undescribed(model: Model) -> StoredModel:
    """Returns a network as it is kept, of which nothing is known beside it."""
    return StoredModel("dry run", model, ModelInput(), None, {})


@dataclass(frozen=True, slots=True)
class OneWait:
    """Measures, and ends a dry run where the device is busy: trying on is for a search."""

    measurer: NetworkTimer

    @property
    def device_name(self) -> str:
        return self.measurer.device_name

    def latency(self, graph: Graph) -> Latency:
        try:
            return self.measurer.latency(graph)
        except DeviceBusyError as error:
            raise UserError(str(error)) from None

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        return self.measurer.kernel_latencies(network, nodes)


class Clock:
    """Says each step with the seconds it took."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.last = perf_counter()

    def done(self, what: str) -> None:
        self.note(what, perf_counter() - self.last)

    def note(self, what: str, seconds: float) -> None:
        self.say(f"{seconds:7.2f} s  {what}")
        self.last = perf_counter()
