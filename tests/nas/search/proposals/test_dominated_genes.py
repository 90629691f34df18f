"""Useless precisions give way, and the search knows what it really evaluates."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from latency_models.devices.device import get_device
from latency_models.devices.latency import MeasurementError
from latency_models.measurement.measurer import KernelLatency, Measurer
from nas.evaluation.evaluator import Evaluator
from nas.evaluation.kernel_table import KernelTable, KernelTimer, kernel_keys
from nas.evaluation.processes import local_workers
from nas.problem.records import SAMPLERS
from nas.problem.run_file import RunFile, to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.folder import create_run, has_run, open_run
from nas.search.loop import Progress, SearchLoop
from nas.search.proposals.dominated_genes import UselessGenes, is_higher, why_not
from nas.search.proposals.proposer import Proposer
from nas.search.resume import take_up_study
from nas.search.run import avoid_useless
from nas.study.drivers import alone
from nas.study.names import HASH, REPLACED
from nas.study.results import RunResults, load_results, results_of
from nas.study.study import retake_interrupted
from nas.training.candidate import LocalTraining
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Value
from search_spaces.graphs.cost import kernel_costs, network_cost, precision_of
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, restore, sample
from search_spaces.space.staged import Stage, StagedSpace, Stem, block_option
from tests.nas.parts.tiny import tiny

SPACE = StagedSpace(
    name="mixed",
    in_channels=1,
    num_classes=10,
    resolutions=(8,),
    stem=Stem((16,), precisions=("fp32", "w8a8")),
    stages=(
        Stage(
            depths=(1, 2),
            widths=(32,),
            strides=(1,),
            blocks=(block_option("plain", {"kernel_size": (1, 3)}),),
            precisions=("fp32", "w8a8", "w4a8", "w4a4", "w1a2", "bwn", "xnor"),
        ),
    ),
)
EQUAL: dict[str, float] = dict.fromkeys(PRECISIONS, 1.0)


@dataclass
class TableOfTimes:
    """Times kernels by a made-up cost of each precision, and counts the networks it was given."""

    cost: Mapping[str, float]
    device_name: str = "made up"
    asked: list[str] = field(default_factory=list)
    refuses: Callable[[Graph], bool] = lambda graph: False

    def kernel_latencies(
        self, network: Graph, nodes: Collection[str] | None = None
    ) -> tuple[KernelLatency, ...]:
        self.asked.append(graph_hash(network))
        if self.refuses(network):
            raise MeasurementError("crashed", "the worker crashed")
        return tuple(
            KernelLatency(kernel.node.name, self.ms(kernel.operator, cost.macs))
            for kernel, cost in kernel_costs(network)
            if nodes is None or kernel.node.name in nodes
        )

    def ms(self, operator: object, macs: int) -> float:
        if not isinstance(operator, Conv2d | Linear):
            return 0.001
        return self.cost[precision_of(operator).name] * macs / 1e6


def genes_of(**changes: Value) -> dict[str, Value]:
    """One layer of 3x3; double underscores are dots."""
    genes: dict[str, Value] = {
        "stem.precision": "fp32",
        "stage0.depth": 1,
        "stage0.layer0.plain.kernel_size": 3,
        "stage0.layer0.precision": "fp32",
    }
    return genes | {name.replace("__", "."): value for name, value in changes.items()}


def useless(path: Path, timer: KernelTimer) -> UselessGenes:
    return UselessGenes(SPACE, KernelTable(timer, path / "kernel_table.json"))


def replaced(path: Path, cost: dict[str, float], precision: str) -> str:
    """The precision that takes the place of ``precision`` in the one layer."""
    architecture = restore(SPACE, genes_of(stage0__layer0__precision=precision))
    found, made = useless(path, TableOfTimes(EQUAL | cost)).replaced(architecture)
    genes = dict(found.genes)
    assert restore(SPACE, genes).graph == found.graph
    assert all(each.saved_ms > 0 and each.saved_bytes >= 0 for each in made)
    after = str(genes["stage0.layer0.precision"])
    assert (made[-1].after if made else precision) == after
    return after


@pytest.mark.parametrize(
    ("cost", "precision", "taken"),
    [
        ({"w4a4": 2.0}, "w4a4", "w4a8"),  # of equal size
        ({"w4a4": 0.5}, "w4a4", "w4a4"),
        ({}, "w4a4", "w4a4"),  # as fast: neither slower
        ({"w4a4": 1.02}, "w4a4", "w4a4"),  # by noise alone
        ({"w4a8": 9.0}, "w4a8", "w4a8"),  # slower, but smaller than w8a8
        ({"w8a8": 9.0}, "w8a8", "w8a8"),  # slower, but smaller than fp32
        ({"xnor": 2.0}, "xnor", "bwn"),
        ({"xnor": 2.0, "bwn": 3.0}, "xnor", "w1a2"),
        ({"xnor": 3.0, "w1a2": 1.5, "bwn": 2.0}, "xnor", "w1a2"),  # the fastest of both
        ({"xnor": 3.0, "w1a2": 1.5, "bwn": 0.9}, "xnor", "bwn"),
        ({"bwn": 9.0}, "bwn", "bwn"),  # 1 bit a weight: nothing higher is as small
        ({"fp32": 9.0}, "fp32", "fp32"),  # nothing is higher
    ],
)
def test_a_precision_gives_way_only_if_it_is_slower_and_no_smaller(
    tmp_path: Path, cost: dict[str, float], precision: str, taken: str
) -> None:
    assert replaced(tmp_path, cost, precision) == taken


def test_where_scales_outweigh_the_weights_a_lower_precision_is_not_smaller(
    tmp_path: Path,
) -> None:
    """A 1x1 convolution of 1 channel: 4 bytes a weight, or 1 byte and a scale of 4."""
    stem = Stem((16,), (1,), precisions=("fp32", "w8a8"))
    space = StagedSpace("narrow", 1, 10, (8,), SPACE.stages[:1], stem)
    genes = genes_of(stem__precision="w8a8")
    table = KernelTable(TableOfTimes(EQUAL | {"w8a8": 2.0}), tmp_path / "table.json")

    found, made = UselessGenes(space, table).replaced(restore(space, genes))

    assert dict(found.genes) == genes | {"stem.precision": "fp32"}
    assert [(each.gene, each.before, each.after) for each in made] == [
        ("stem.precision", "w8a8", "fp32")
    ]
    assert made[0].saved_bytes == 16 * (1 + 4 - 4) + 4  # the step of the image's codes as well
    assert "stem.precision = w8a8 is" in str(made[0])


def test_every_layer_is_looked_at(tmp_path: Path) -> None:
    genes = genes_of(stage0__depth=2, stage0__layer0__precision="w4a4")
    second: dict[str, Value] = {
        "stage0.layer1.plain.kernel_size": 1,
        "stage0.layer1.precision": "xnor",
    }
    timer = TableOfTimes(EQUAL | {"w4a4": 2.0, "xnor": 2.0, "w1a2": 3.0})

    found, made = useless(tmp_path, timer).replaced(restore(SPACE, genes | second))

    assert dict(found.genes)["stage0.layer0.precision"] == "w4a8"
    assert dict(found.genes)["stage0.layer1.precision"] == "bwn"
    assert [each.gene for each in made] == ["stage0.layer0.precision", "stage0.layer1.precision"]


def test_nothing_is_timed_where_fewer_bits_are_smaller(tmp_path: Path) -> None:
    timer = TableOfTimes(EQUAL | {"w8a8": 9.0, "w4a8": 9.0})
    for precision in ("fp32", "w8a8", "w4a8"):
        useless(tmp_path, timer).replaced(
            restore(SPACE, genes_of(stage0__layer0__precision=precision))
        )

    assert timer.asked == []
    assert not (tmp_path / "kernel_table.json").exists()


def test_equal_layers_are_timed_once_and_kept_on_disk(tmp_path: Path) -> None:
    timer = TableOfTimes(EQUAL | {"w4a4": 2.0})
    architecture = restore(SPACE, genes_of(stage0__layer0__precision="w4a4"))

    first = useless(tmp_path, timer)
    assert first.replaced(architecture) == first.replaced(architecture)
    # Both networks once, and twice more to confirm what is decided.
    assert [timer.asked.count(key) for key in dict.fromkeys(timer.asked)] == [3, 3]
    # Another process, whose device is slower by now, decides as before.
    other = TableOfTimes({**EQUAL, "w4a8": 9.0})
    assert useless(tmp_path, other).replaced(architecture) == first.replaced(architecture)
    assert other.asked == []
    # Another device has a table of its own.
    third = TableOfTimes({**EQUAL, "w4a8": 9.0}, device_name="third")
    assert useless(tmp_path, third).replaced(architecture)[1] == ()
    data = json.loads((tmp_path / "kernel_table.json").read_text())
    assert data["readings_ms"].keys() == {"made up", "third"}
    assert {len(row) for row in data["readings_ms"]["made up"].values()} == {1, 3}
    assert {len(row) for row in data["readings_ms"]["third"].values()} == {1}


def test_a_disturbed_reading_replaces_nothing(tmp_path: Path) -> None:
    """The first reading of 4-bit maps is ten times too long; the later ones are right."""

    class Disturbed(TableOfTimes):
        def ms(self, operator: object, macs: int) -> float:
            early = len(self.asked) == 1 and precision_of(operator).name == "w4a4"  # type: ignore[arg-type]
            return super().ms(operator, macs) * (10 if early else 1)

    architecture = restore(SPACE, genes_of(stage0__layer0__precision="w4a4"))
    timer = Disturbed(EQUAL)

    assert useless(tmp_path, timer).replaced(architecture) == (architecture, ())
    assert len(timer.asked) > 2


def test_a_network_that_cannot_be_timed_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timer = TableOfTimes(EQUAL | {"w4a4": 2.0}, refuses=lambda graph: True)
    architecture = restore(SPACE, genes_of(stage0__layer0__precision="w4a4"))
    found = useless(tmp_path, timer)

    assert found.replaced(architecture) == (architecture, ())
    assert found.replaced(architecture) == (architecture, ())
    assert len(timer.asked) == 1
    assert not (tmp_path / "kernel_table.json").exists()


@pytest.mark.slow
def test_the_device_at_hand_tells_what_is_useless(tmp_path: Path) -> None:
    """What comes of it is for the device to say; it says it of every network, and only once."""
    genes = genes_of(stage0__layer0__precision="w4a4", stage0__depth=2)
    second: dict[str, Value] = {"stage0.layer1.plain.kernel_size": 1}
    architecture = restore(SPACE, genes | second | {"stage0.layer1.precision": "xnor"})
    with Measurer(get_device("host"), "tvm") as measurer:
        found, made = useless(tmp_path, measurer).replaced(architecture)

    again = useless(tmp_path, TableOfTimes(EQUAL, "host", refuses=lambda graph: True))
    assert again.replaced(architecture) == (found, made)
    table = json.loads((tmp_path / "kernel_table.json").read_text())["readings_ms"]["host"]
    keys = kernel_keys(architecture.graph)
    assert keys.keys() >= {"stem", "stage0.layer0.conv", "stage0.layer1.conv", "head.classifier"}
    assert all(min(table[keys[name]]) > 0 for name in keys if name != "input")
    for each in made:
        assert each.saved_ms > 0
        assert each.saved_bytes >= 0


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kernel_table.json"
    for text, message in (("{", "is damaged"), ("{}", "is no kernel table of this hwnas")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            KernelTable(TableOfTimes(EQUAL), path)


def test_kernels_are_equal_where_shapes_formats_and_neighbours_codes_are() -> None:
    def keys(precision: str, after: str, width: int = 32) -> dict[str, str]:
        net = GraphBuilder((3, 8, 8))
        x = net.add("a", Conv2d(width), net.input)
        x = net.add("b", Conv2d(32, (3, 3), precision=PRECISIONS[precision]), x)
        net.add("c", Conv2d(32, precision=PRECISIONS[after]), x)
        return kernel_keys(net.graph())

    plain, coded = keys("fp32", "fp32"), keys("w8a8", "fp32")
    assert keys("fp32", "fp32") == plain
    assert coded["input"] == plain["input"]
    assert coded["a"] != plain["a"]  # it writes codes
    assert coded["b"] != plain["b"]
    assert coded["c"] == plain["c"]
    assert keys("fp32", "w8a8")["b"] not in (plain["b"], coded["b"])
    assert keys("fp32", "fp32", 16)["b"] != plain["b"]


@pytest.mark.parametrize("seed", range(5))
def test_every_kernel_of_a_network_has_a_key(seed: int) -> None:
    graph = sample(SPACE, Random(seed)).graph

    assert kernel_keys(graph).keys() == {"input", *(k.node.name for k, _ in kernel_costs(graph))}


def test_higher_keeps_more_of_both_and_less_of_none() -> None:
    def higher_than(name: str) -> set[str]:
        return {p.name for p in PRECISIONS.values() if is_higher(p, PRECISIONS[name])}

    assert higher_than("fp32") == set()
    assert higher_than("w8a8") == {"fp32"}
    assert higher_than("w4a4") == {"fp32", "w8a8", "w4a8"}
    assert higher_than("bwn") == {"fp32"}
    assert higher_than("xnor") == set(PRECISIONS) - {"xnor"}
    for one in PRECISIONS.values():
        for other in PRECISIONS.values():
            assert not (is_higher(one, other) and is_higher(other, one))


# Searches.

MIXED: dict[str, Any] = {
    "resolution": 8,
    "stem": {"width": [8, 16], "stride": 2},
    "stages": [
        {
            "depth": [1, 2],
            "width": [16, 32],
            "stride": 2,
            "precision": ["fp32", "w4a8", "w4a4", "bwn", "xnor"],
            "blocks": [{"plain": {"kernel_size": [1, 3]}}],
        }
    ],
}
SLOW_LOW_BITS = EQUAL | {"w4a4": 2.0, "xnor": 3.0}


def mixed(**changes: Any) -> RunFile:  # noqa: ANN401
    return tiny(**({"space": MIXED, "search": {"trials": 6}} | changes))


def searched(
    folder: Path, file: RunFile, timer: KernelTimer | None, *, stop_after: int = 10**9
) -> RunResults:
    """Searches as `nas.search.run.run_search` does, with times of kernels from ``timer``."""
    config = file.config()
    path = folder / config.name
    run = open_run(path) if has_run(path) else create_run(path, to_yaml(file))
    setting = load_setting(config)
    study = take_up_study(config, run, setting)
    if timer is not None:
        avoid_useless(study, setting, timer, run)
    training = LocalTraining(config, setting.tensors, FolderCheckpoints(run.checkpoints))
    evaluator = Evaluator(config, training, None, run)
    with local_workers(config, run, evaluator) as workers:
        stop = Event()

        def stop_in_time(progress: Progress) -> None:
            if progress.done >= stop_after:
                stop.set()

        drivers = alone(study, run)
        SearchLoop(config, setting, drivers, workers, stop_in_time, stop=stop).run_all()
    return results_of(run, config, study.get_trials(deepcopy=False))


def precisions(trial: FrozenTrial) -> set[object]:
    return {value for name, value in trial.params.items() if name.endswith(".precision")}


def trials_of(results: RunResults) -> list[FrozenTrial]:
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(results.run.journal))
    )
    (study,) = storage.get_all_studies()
    return storage.get_all_trials(study._study_id)


def found(results: RunResults) -> list[tuple[object, ...]]:
    return [
        (trial.hash, tuple(trial.genes.items()), trial.evaluation.values)
        for trial in results.trials
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_evaluates_and_tells_what_takes_the_place_of_useless_genes(
    tmp_path: Path, sampler: str
) -> None:
    file = mixed(search={"trials": 6, "initial": 3, "sampler": sampler})

    results = searched(tmp_path, file, TableOfTimes(SLOW_LOW_BITS))

    finished = [trial for trial in trials_of(results) if trial.state == TrialState.COMPLETE]
    assert len({trial.user_attrs[HASH] for trial in finished}) == 6
    assert not {"w4a4", "xnor"} & set().union(*map(precisions, finished))
    space = load_setting(file.config()).space
    for trial in finished:
        assert graph_hash(restore(space, trial.params).graph) == trial.user_attrs[HASH]
        for row in trial.user_attrs.get(REPLACED, ()):
            assert (row["before"], row["after"]) in (("w4a4", "w4a8"), ("xnor", "bwn"))
            assert trial.params[row["gene"]] == row["after"]
    assert results.num_replaced == sum(len(t.user_attrs.get(REPLACED, ())) for t in finished)
    assert results.num_replaced > 0
    assert load_results(results.run.path).num_replaced == results.num_replaced


@pytest.mark.parametrize("sampler", ["evolution", "tpe"])
def test_where_nothing_is_useless_the_search_is_the_one_without_the_rule(
    tmp_path: Path, sampler: str
) -> None:
    file = mixed(search={"trials": 6, "initial": 3, "sampler": sampler})

    without = searched(tmp_path / "without", file, None)
    results = searched(tmp_path / "with", file, TableOfTimes(EQUAL))

    assert found(results) == found(without)
    assert results.num_replaced == 0


def test_a_search_that_is_stopped_replaces_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", mixed(), TableOfTimes(SLOW_LOW_BITS))

    partly = searched(tmp_path, mixed(), TableOfTimes(SLOW_LOW_BITS), stop_after=3)
    assert len(partly.searched) == 3
    results = searched(tmp_path, mixed(), TableOfTimes(SLOW_LOW_BITS))

    assert found(results) == found(whole)
    assert results.num_replaced == whole.num_replaced


def test_a_trial_that_was_killed_under_way_keeps_what_was_replaced() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_categorical("stage0.layer0.precision", ["fp32", "bwn", "xnor"])
    trial.set_user_attr(REPLACED, [{"gene": "stage0.layer0.precision"}])
    trial.set_user_attr(HASH, "abc")

    assert retake_interrupted(study) == 1

    again = study.ask()
    assert again.user_attrs == {REPLACED: [{"gene": "stage0.layer0.precision"}]}


def test_baselines_of_the_space_are_not_changed(tmp_path: Path) -> None:
    timer = TableOfTimes(SLOW_LOW_BITS)
    file = mixed(search={"trials": 3})
    config = file.config()
    run = create_run(tmp_path / config.name, to_yaml(file))
    setting = load_setting(config)
    study = take_up_study(config, run, setting)
    avoid_useless(study, setting, timer, run)
    genes = dict(first_with(setting.space, "w4a4").genes)
    study.enqueue_trial(genes, user_attrs={"baseline": "given"})

    setting = replace(setting, baselines={"given": restore(setting.space, genes)})

    architecture, notes = Proposer(setting, study).propose(study.ask())

    assert architecture.genes == tuple(genes.items())
    assert notes == {}
    assert timer.asked == []


def first_with(space: StagedSpace, precision: str) -> Architecture:
    drawn = (sample(space, Random(seed)) for seed in range(1000))
    return next(a for a in drawn if precision in dict(a.genes).values())


def test_a_run_says_why_it_looks_for_nothing() -> None:
    def reason(**changes: Any) -> str:  # noqa: ANN401
        return why_not(mixed(**changes).config())

    timed = {"objectives": ["accuracy", "latency_ms"]}
    assert reason(**timed) == ""
    assert "no kernel is timed" in reason()
    assert "is off" in reason(**timed, search={"avoid_useless": False})
    assert "only runtime 'tvm'" in reason(**timed, latency={"runtime": "onnxruntime"})
    assert "only runtime 'tvm'" in reason(**timed, latency={"device": "host-onnxruntime"})
    assert "no place of the space" in why_not(tiny(**timed).config())
    assert reason(constraints=["latency_ms <= 1"]) == ""


def test_bytes_of_the_weights_decide_and_not_those_of_the_maps() -> None:
    one, other = (
        restore(SPACE, genes_of(stage0__layer0__precision=name)).graph for name in ("w4a4", "w4a8")
    )

    assert network_cost(one).weight_bytes == network_cost(other).weight_bytes
