"""All places keep one contract: a search is the same in each of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from nas.evaluation.instruments import Instruments
from nas.evaluation.place import LocalPlace, Place
from nas.evaluation.ray.connection import connected
from nas.evaluation.ray.place import RayPlace
from nas.models.folder import ModelInput, fingerprint, write_model
from nas.models.given.setting import note_models
from nas.problem.run_file import RunFile, to_yaml
from nas.runs.folder import create_run
from nas.search.run import run_search
from nas.training.accuracy import accuracy
from nas.training.loop import train
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash
from tests.nas.parts.contracts import QUICK, keeping
from tests.nas.parts.latencies import fresh_stopwatch, true_ms
from tests.nas.parts.models import small_model
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S

INSTRUMENTS = Instruments(fresh_stopwatch)
SLOW, CLUSTER = pytest.mark.slow, pytest.mark.cluster


@contextmanager
def on_a_cluster() -> Iterator[Place]:
    with connected("auto") as cluster:
        yield RayPlace(cluster, INSTRUMENTS)


MAKERS: dict[str, Callable[[], AbstractContextManager[Place]]] = {
    "this process": lambda: nullcontext(LocalPlace(INSTRUMENTS)),
    "two processes": lambda: nullcontext(LocalPlace(INSTRUMENTS)),
    "cluster": on_a_cluster,
}


def test_all_places_are_in_this_suite() -> None:
    assert keeping("prepare", "open") == {"LocalPlace", "RayPlace"}


@pytest.fixture(
    params=[
        "this process",
        pytest.param("two processes", marks=SLOW),
        pytest.param("cluster", marks=CLUSTER),
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "cluster":
        request.getfixturevalue("two_nodes")
    chosen: str = request.param
    return chosen


@pytest.fixture
def place(name: str) -> Iterator[Place]:
    with MAKERS[name]() as opened:
        yield opened


@pytest.fixture
def file(name: str, digits_file: dict[str, Any]) -> RunFile:
    return tiny(
        data=digits_file,
        objectives=["accuracy", "latency_ms"],
        search={"workers": 2 if name == "two processes" else 1},
    )


def children() -> set[int]:
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def test_a_place_prepares_the_same_data_and_space_and_writes_nothing(
    place: Place, file: RunFile, tmp_path: Path
) -> None:
    config, before = file.config(), children()

    setting = place.prepare(config)

    assert [len(part.labels) for part in (setting.splits.train, setting.splits.test)] == [60, 60]
    assert (setting.space.in_channels, setting.space.num_classes) == (1, 10)
    assert len(setting.tensors.validation) == 60
    assert list(tmp_path.iterdir()) == []
    assert children() == before


def test_a_place_says_whether_this_machine_is_it(place: Place, name: str) -> None:
    assert place.is_here is (name != "cluster")


def test_data_that_is_not_there_is_refused_before_anything_is_opened(
    place: Place, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    path = str(tmp_path / "nowhere.npz")

    with pytest.raises(UserError, match="there is no such file"):
        place.prepare(tiny(data=digits_file | {"path": path}).config())


@pytest.mark.slow
def test_an_open_place_evaluates_candidates_and_measures_and_ends_what_it_started(
    place: Place, file: RunFile, tmp_path: Path
) -> None:
    config, before = file.config(), children()
    run = create_run(tmp_path / "run", to_yaml(file))

    with place.open(config, run, place.prepare(config), None) as opened:
        key = opened.workers.submit(QUICK).result(timeout=PATIENCE_S)
        measured = opened.measurer.latency(QUICK.graph)

    evaluation = run.load_evaluation(key)
    assert evaluation is not None
    assert (evaluation.hash, evaluation.status) == (graph_hash(QUICK.graph), "finished")
    assert evaluation.values["latency_ms"] == true_ms(QUICK.graph) == measured.median_ms
    assert evaluation.epochs == 1
    assert opened.measurer.device_name == "host"
    assert opened.description
    assert children() == before


@pytest.mark.slow
def test_a_search_ends_in_any_place_once_it_brings_nothing_more(
    place: Place, name: str, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    workers = 2 if name == "two processes" else 1
    search = {"trials": 54, "initial": 4, "stop": {"no_gain_in": 6}, "workers": workers}
    file = tiny(data=digits_file, objectives=["accuracy", "latency_ms"], search=search)

    results = run_search(file, tmp_path, place=place)

    assert results.num_running == 0
    assert 6 < len(results.searched) < 54
    assert (results.without_gain or 0) >= 6
    assert results.ending.startswith("the hypervolume has not grown")


@pytest.mark.slow
def test_a_place_takes_given_models_as_they_are_and_lets_others_learn_from_a_teacher(
    place: Place, file: RunFile, tmp_path: Path
) -> None:
    given = small_model(class_names=None, input=ModelInput())
    write_model(tmp_path / "m", given)
    changes = {"teacher": str(tmp_path / "m"), "device": "cpu"}
    taught = file.training.model_copy(update=changes)
    baselines = tiny(baselines=[str(tmp_path / "m")]).baselines
    aims = {"objectives": ("accuracy", "macs")}
    file = file.model_copy(update={"training": taught, "baselines": baselines} | aims)
    config = file.config()
    run = create_run(tmp_path / "run", to_yaml(file))
    setting = place.prepare(config)
    note_models(run, setting)
    (baseline,) = setting.baselines.values()

    with place.open(config, run, setting, None) as opened:
        for each in (QUICK, baseline):
            opened.workers.submit(each).result(timeout=PATIENCE_S)

    wanted = train(QUICK.graph, setting.tensors, config.training, teacher=given.model).model
    assert fingerprint(run.load_model(graph_hash(QUICK.graph))) == fingerprint(wanted)
    key = graph_hash(baseline.graph)
    assert fingerprint(run.load_model(key)) == fingerprint(given.model)
    evaluation = run.load_evaluation(key)
    assert evaluation is not None
    assert (evaluation.status, evaluation.epochs) == ("finished", 0)
    assert evaluation.values["accuracy"] == accuracy(given.model, setting.tensors.validation)


def test_an_error_of_the_search_leaves_the_place_as_it_is(
    place: Place, file: RunFile, tmp_path: Path
) -> None:
    config, before = file.config(), children()
    run = create_run(tmp_path / "run", to_yaml(file))

    with (
        pytest.raises(RuntimeError, match="the search failed"),
        place.open(config, run, place.prepare(config), None),
    ):
        raise RuntimeError("the search failed")

    assert children() == before
