"""A device that is a blend of others is known from a few networks measured on it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from latency_models.compiler.kernel_text import to_text
from latency_models.compiler.network_kernels import AnyKernel, network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.device import get_device
from latency_models.devices.latency import Latency, MeasurementError, NotProfiledError
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.readings import Reading, append_readings, read_readings
from latency_models.prediction.fitting import fit_latency_model
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import FILE, TRANSFERRED, profiled_devices
from latency_models.prediction.onnx_features import describe
from latency_models.profiling.profiler import text_of
from latency_models.transfer.anchored import rank_correlation
from latency_models.transfer.device_transfer import TransferReport, transfer_device
from latency_models.transfer.model import TransferredModel, load_latency_model
from latency_models.transfer.model_file import model_files
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model
from search_spaces.networks import get_network
from search_spaces.space.space import sample
from search_spaces.space.staged import Head, Stage, StagedSpace, Stem, block_option
from tests.latency_models.parts.profiles import CONDITIONS

BLOCKS = (
    block_option("plain", {"kernel_size": (1, 3)}),
    block_option("inverted_residual", {"kernel_size": (3,), "expand_ratio": (2, 4)}),
)
SPACE = StagedSpace(
    name="small",
    in_channels=3,
    num_classes=10,
    resolutions=(16, 32),
    stem=Stem(widths=(16, 24)),
    stages=(
        Stage((1, 2), (16, 24, 32), (1,), BLOCKS),
        Stage((1, 2), (32, 48), (2,), BLOCKS),
    ),
    head=Head(widths=(0, 64)),
)

Formula = Callable[[AnyKernel], float]


@cache
def computing_ms(kernel: AnyKernel) -> float:
    return 1e-4 + describe(kernel, AVX2).macs / 1e7


@cache
def moving_ms(kernel: AnyKernel) -> float:
    return 3e-4 + describe(kernel, AVX2).moved_bytes / 1e7


@cache
def kernels_of(graph: Graph) -> tuple[AnyKernel, ...]:
    return tuple(use.kernel for use in network_kernels(graph, "tvm", AVX2))


def network_ms(graph: Graph, kernel_ms: Formula) -> float:
    return 0.01 + sum(kernel_ms(kernel) for kernel in kernels_of(graph))


def blend_ms(graph: Graph) -> float:
    return 0.5 * network_ms(graph, computing_ms) + 1.5 * network_ms(graph, moving_ms)


def drawn(rng: Random) -> Graph:
    return sample(SPACE, rng).graph


def make_profile(folder: Path, device: str, kernel_ms: Formula) -> None:
    rng = Random(7)
    graphs = [drawn(rng) for _ in range(60)]
    kernels = {kernel for graph in graphs for kernel in kernels_of(graph)}
    conditions = replace(CONDITIONS, device=device)

    def reading(text: str, ms: float) -> Reading:
        return Reading(text, "", Latency(ms, 0.01 * ms, "measured", conditions), "", "one")

    rows = [reading(to_text(kernel), kernel_ms(kernel)) for kernel in kernels]
    append_readings(folder / device, "kernels", 0, rows)
    whole = [reading(text_of(graph), network_ms(graph, kernel_ms)) for graph in graphs]
    append_readings(folder / device, "networks", 0, whole)
    fit_latency_model(folder / device, AVX2, "lookup").save(folder)


class FormulaMeasurer(Measurer):
    """Says what a formula does, at a drift that comes and goes; fails for chosen networks."""

    def __init__(self, failing: frozenset[int] = frozenset(), most: int = 1000) -> None:
        super().__init__(get_device("host"))
        self.failing, self.most, self.asked = failing, most, 0

    def latency(self, network: Graph | Model) -> Latency:
        assert isinstance(network, Graph)
        self.asked += 1
        if self.asked > self.most:
            raise MeasurementError("unreachable", "host is gone")
        if self.asked in self.failing:
            raise MeasurementError("crashed", "the network crashed")
        drift = 1.0 + 0.1 * (self.asked % 3)
        date = f"2026-01-01T00:{self.asked:02}:00+00:00"
        conditions = replace(CONDITIONS, device="new", drift=drift, date=date)
        return Latency(blend_ms(network) * drift, 0.001, "measured", conditions)


class Place(NamedTuple):
    folder: Path
    report: TransferReport
    measurer: FormulaMeasurer


def transfer(
    folder: Path, measurer: FormulaMeasurer, samples: int = 10, sources: str = "one two"
) -> TransferReport:
    return transfer_device(
        replace(get_device("host"), name="new"),
        sources.split(),
        drawn,
        samples=samples,
        folder=folder,
        open_measurer=lambda device: measurer,
        wait=lambda seconds: None,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two profiled devices, to be copied."""
    folder = tmp_path_factory.mktemp("sources")
    make_profile(folder, "one", computing_ms)
    make_profile(folder, "two", moving_ms)
    return folder


@pytest.fixture(scope="module")
def place(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with two profiled devices, and one to which latency was transferred from them."""
    folder = shutil.copytree(pair, tmp_path_factory.mktemp("profiles"), dirs_exist_ok=True)
    measurer = FormulaMeasurer()
    return Place(folder, transfer(folder, measurer), measurer)


@pytest.fixture
def copy(pair: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pair, tmp_path, dirs_exist_ok=True)


def unseen(count: int = 60) -> list[Graph]:
    rng = Random(99)
    return [drawn(rng) for _ in range(count)]


@pytest.mark.slow
def test_a_blend_of_two_devices_is_predicted_from_ten_networks(place: Place) -> None:
    model, graphs = place.report.model, unseen()
    truth = np.array([1.1 * blend_ms(graph) for graph in graphs])  # 1.1 is the usual drift
    said = model.latencies(graphs, extrapolate=True)
    errors = np.array([latency.median_ms for latency in said]) / truth - 1

    assert np.abs(errors).mean() < 0.03
    inside = [
        latency.interval is not None and latency.interval.low_ms <= ms <= latency.interval.high_ms
        for latency, ms in zip(said, truth, strict=True)
    ]
    assert np.mean(inside) >= 0.85
    assert {latency.source for latency in said} == {"predicted"}
    one = LatencyModel.load("one", place.folder).latencies(graphs, extrapolate=True)
    alone = np.array([latency.median_ms for latency in one]) / truth
    assert np.abs(alone / np.median(alone) - 1).mean() > 3 * np.abs(errors).mean()


def test_it_says_what_it_is(place: Place) -> None:
    about = place.report.model.about

    assert json.loads(json.dumps(about)) == about
    assert (about["device"], about["model"], about["runtime"]) == ("new", "transferred", "tvm")
    assert about["networks"] == 10
    assert about["drift"] == pytest.approx(1.1)
    assert [source["device"] for source in about["sources"]] == ["one", "two"]
    assert all(source["agreement"] > 0.5 for source in about["sources"])
    assert sum(source["weight"] for source in about["sources"]) > 0.5
    assert about["held_out"]["mape"] < 0.1


def test_it_is_loaded_as_it_was(place: Place) -> None:
    graphs = unseen(5)
    read = load_latency_model("new", place.folder)

    assert isinstance(read, TransferredModel)
    assert read.about == place.report.model.about
    said = read.latencies(graphs, extrapolate=True)
    assert said == place.report.model.latencies(graphs, extrapolate=True)
    assert said[0].median_ms == pytest.approx(read.latency(graphs[0], extrapolate=True).median_ms)
    assert profiled_devices(place.folder) == ("new", "one", "two")
    names = [path.parent.name for path in model_files("new", place.folder)]
    assert names == ["new", "one", "two"]


def test_kernels_add_up_to_the_network(place: Place) -> None:
    graph = unseen(1)[0]
    found = place.report.model.explain(graph, extrapolate=True)

    whole = sum(kernel.median_ms for kernel in found.kernels) + found.overhead_ms
    assert whole == pytest.approx(found.latency.median_ms)
    assert {kernel.source for kernel in found.kernels} == {"transferred"}
    assert all(k.low_ms < k.median_ms < k.high_ms for k in found.kernels)


def test_it_learns_from_networks_that_are_measured_later(place: Place) -> None:
    model = place.report.model
    rng = Random(7)
    graphs = [drawn(rng) for _ in range(8)]
    slow = [(graph, Latency(2.2 * blend_ms(graph), 0.0, "measured")) for graph in graphs]

    refitted = model.refitted(slow)

    assert refitted.about["networks"] == 18
    assert refitted.latency(graphs[0]).median_ms > 1.1 * model.latency(graphs[0]).median_ms
    assert model.about["networks"] == 10
    unlike = get_network("vgg16")(width=0.25, resolution=32, num_classes=10)
    assert model.refitted([(unlike, Latency(1.0, 0.0, "measured"))]) is model


def test_what_a_source_never_measured_is_refused_unless_asked_to_extrapolate(
    place: Place,
) -> None:
    model = place.report.model
    unlike = get_network("vgg16")(width=0.25, resolution=32, num_classes=10)

    with pytest.raises(NotProfiledError, match="one has no reading of a kernel"):
        model.latency(unlike)
    said = model.latency(unlike, extrapolate=True)
    assert (said.model, said.extrapolated) == ("transferred", True)
    known = model.latency(unseen(1)[0], extrapolate=True)
    assert said.interval is not None
    assert known.interval is not None
    assert said.interval.high_ms / said.median_ms > known.interval.high_ms / known.median_ms


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(copy: Path) -> None:
    with pytest.raises(MeasurementError, match="host is gone"):
        transfer(copy, FormulaMeasurer(most=4))
    assert not (copy / "new" / TRANSFERRED).exists()
    again, more, nobody = FormulaMeasurer(), FormulaMeasurer(), FormulaMeasurer(most=0)

    assert transfer(copy, again).measured == again.asked == 6
    assert transfer(copy, more, samples=14).measured == more.asked == 4
    assert transfer(copy, nobody, samples=14).measured == nobody.asked == 0
    assert len(read_readings(copy / "new", "networks")) == 14


@pytest.mark.slow
def test_another_network_stands_in_for_one_that_fails(copy: Path) -> None:
    report = transfer(copy, FormulaMeasurer(failing=frozenset({2, 5})))

    assert (report.measured, report.failures) == (10, 2)
    assert report.model.about["networks"] == 10
    every = FormulaMeasurer(failing=frozenset(range(100)))
    with pytest.raises(UserError, match="11 networks of the space could not be measured on new"):
        transfer(copy, every, samples=40)


@pytest.mark.slow
def test_a_profile_of_its_own_goes_before_it(copy: Path) -> None:
    transfer(copy, FormulaMeasurer())
    make_profile(copy, "new", moving_ms)

    assert isinstance(load_latency_model("new", copy), LatencyModel)
    assert [path.name for path in model_files("new", copy)] == [FILE]
    assert transfer(copy, FormulaMeasurer()).has_own


@pytest.mark.parametrize(
    ("sources", "samples", "message"),
    [
        ("one nobody", 10, "device 'nobody' has no latency model .profiled devices: one, two"),
        ("one new", 10, "device 'new' cannot stand in for itself"),
        ("", 10, "name the devices to transfer from"),
        ("one", 4, "samples must be from 5 to 100, got 4"),
        ("one", 101, "samples must be from 5 to 100, got 101"),
    ],
)
def test_what_cannot_be_is_one_line(
    place: Place, sources: str, samples: int, message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        transfer(place.folder, FormulaMeasurer(), samples, sources)
    assert "\n" not in str(raised.value)


def test_a_transferred_device_is_no_source(place: Place) -> None:
    with pytest.raises(UserError, match="source 'new' is itself predicted from other devices"):
        transfer_device(get_device("host"), ["new"], drawn, folder=place.folder, samples=5)


def test_a_source_that_is_gone_or_changed_is_named(copy: Path) -> None:
    transfer(copy, FormulaMeasurer())
    (copy / "two" / FILE).rename(copy / "model.npz")
    with pytest.raises(UserError, match="'new' is predicted from other devices, but device 'two'"):
        load_latency_model("new", copy)

    (copy / "model.npz").rename(copy / "two" / FILE)
    for file in (copy / "two").glob("*.parquet"):
        text = read_readings(copy / "two", "kernels")  # the file must be whole
        assert len(text)
        import pandas as pd

        pd.read_parquet(file).assign(target="other").to_parquet(file)
    fit_latency_model(copy / "two", AVX2, "lookup").save(copy)
    with pytest.raises(
        UserError, match=r"from 'two' with target none, .* with target other since"
    ):
        load_latency_model("new", copy)


def test_a_damaged_file_is_one_line(copy: Path) -> None:
    path = transfer(copy, FormulaMeasurer()).path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"transferred\.npz is no latency model"):
        load_latency_model("new", copy)
    path.unlink()
    with pytest.raises(UserError, match="latency was never transferred to 'new'"):
        TransferredModel.load("new", copy)
    with pytest.raises(UserError, match="device 'new' has no latency model"):
        load_latency_model("new", copy)


def test_an_operator_that_the_device_lacks_is_refused(place: Place) -> None:
    from search_spaces.graphs.graph import Node
    from search_spaces.graphs.operators import Weightless

    class Odd(Weightless):
        pass

    graph = unseen(1)[0]
    last = graph.output
    odd = Graph(
        graph.input_shape,
        (*graph.nodes, Node("odd", Odd(), (last.name,), last.shape)),  # type: ignore[arg-type]
    )
    with pytest.raises(UnsupportedOperatorError):
        place.report.model.latency(odd)


def test_ranks_agree() -> None:
    a = np.array([3.0, 1.0, 2.0])
    assert rank_correlation(a, 2 * a) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.ones(3)) == 0


def test_predicting_imports_neither_torch_nor_tvm_nor_what_fitting_needs(place: Place) -> None:
    heavy = {"torch", "tvm", "onnx", "onnxruntime", "sklearn", "scipy", "pandas", "pyarrow"}
    code = (
        "import sys; from pathlib import Path\n"
        "from latency_models.transfer.model import load_latency_model\n"
        "from search_spaces.networks import get_network\n"
        f"model = load_latency_model('new', Path({str(place.folder)!r}))\n"
        "graph = get_network('mobilenet_v2')(width=0.25, resolution=32, num_classes=10)\n"
        "model.latency(graph, extrapolate=True), model.about\n"
        f"print(*sorted({heavy!r} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
