"""Latency model: from readings to predictions of unseen networks, refusals, and files."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import AVX2
from latency_models.devices.device import RUNTIMES, Runtime
from latency_models.devices.latency import NotProfiledError
from latency_models.prediction.model import LatencyModel
from latency_models.prediction.model_file import (
    FORMAT,
    VERSION,
    ModelName,
    profiled_devices,
)
from latency_models.prediction.predictor import Explanation, KernelPrediction
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.graphs.precision import get_precision
from search_spaces.networks import get_network
from tests.latency_models.parts.profiles import at, graphs, make_model, measured, network_ms

MODELS: tuple[ModelName, ...] = ("learned", "lookup", "roofline")
UNSEEN = graphs(60, seed=99)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LatencyModel:
    return make_model(tmp_path_factory.mktemp("profiles"))


def unlike() -> Graph:
    """A network of a precision that the small space does not have."""
    net = GraphBuilder((3, 16, 16))
    x = net.add("stem", Conv2d(16, (3, 3)), net.input)
    x = net.add("odd", Conv2d(16, (3, 3), precision=get_precision("w2a2")), x)
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


def large() -> Graph:
    """A network of known kinds, one of them far larger than any timed one."""
    net = GraphBuilder((3, 32, 32))
    x = net.add("stem", Conv2d(24, (3, 3)), net.input)
    x = net.add("huge", Conv2d(2048, (3, 3)), x)
    net.add("logits", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


# Predictions


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unseen_networks_are_predicted(runtime: Runtime, tmp_path: Path) -> None:
    conditions = at("2026-01-01T00:00:00+00:00", runtime=runtime)
    model = make_model(tmp_path, "learned", conditions)

    latencies = model.latencies(UNSEEN)

    wanted = np.array([network_ms(graph, runtime) for graph in UNSEEN])
    off = np.abs([latency.median_ms for latency in latencies] / wanted - 1)
    assert float(np.mean(off)) < 0.05
    assert float(np.mean(off < 0.1)) > 0.9
    inside = [
        each.interval.low_ms <= ms <= each.interval.high_ms
        for each, ms in zip(latencies, wanted, strict=True)
        if each.interval is not None
    ]
    assert len(inside) == len(UNSEEN)
    assert np.mean(inside) > 0.75
    assert {each.model for each in latencies} == {"learned"}
    assert {each.source for each in latencies} == {"predicted"}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_predicts_its_own_networks(name: ModelName, tmp_path: Path) -> None:
    model = make_model(tmp_path, name)
    assert model.name == name

    known = graphs(20, seed=0)
    off = [model.latency(graph).median_ms / network_ms(graph) - 1 for graph in known]

    assert np.mean(np.abs(off)) < 0.05
    assert "lookup" in {row.source for row in model.explain(known[0]).kernels}


@pytest.mark.parametrize("name", MODELS)
def test_what_stands_in_for_a_reading_is_told(name: ModelName, tmp_path: Path) -> None:
    model = make_model(tmp_path, name)
    rows = [row for graph in UNSEEN[:20] for row in model.explain(graph).kernels]
    stand_in = {"learned": "learned", "lookup": "interpolated", "roofline": "roofline"}[name]
    assert {row.source for row in rows} == {"lookup", stand_in}


def test_many_at_once_are_what_each_is_alone(model: LatencyModel) -> None:
    together = model.latencies(UNSEEN[:10])
    for graph, latency in zip(UNSEEN, together, strict=False):
        alone = model.latency(graph)
        assert latency.median_ms == pytest.approx(alone.median_ms, rel=1e-12)
        assert latency.spread_ms == pytest.approx(alone.spread_ms, rel=1e-12)
    assert model.latencies([]) == ()


def test_the_order_of_questions_does_not_matter(model: LatencyModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    forth, back = LatencyModel.load("formula", tmp_path), LatencyModel.load("formula", tmp_path)
    one = [forth.latency(graph) for graph in UNSEEN[:8]]
    assert one == [back.latency(graph) for graph in UNSEEN[7::-1]][::-1]


def test_forgetting_kernels_changes_nothing(model: LatencyModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    forgetful = LatencyModel.load("formula", tmp_path)
    forgetful.known.most_known = 60

    for graph in (*UNSEEN[:20], *UNSEEN[:20]):
        assert forgetful.latency(graph) == model.latency(graph)
        assert forgetful.explain(graph) == model.explain(graph)
    assert forgetful.latencies(UNSEEN) == model.latencies(UNSEEN)
    measured_ones = [(graph, measured(network_ms(graph))) for graph in UNSEEN[:20]]
    assert (
        forgetful.refitted(measured_ones).latency(UNSEEN[0])
        == model.refitted(measured_ones).latency(UNSEEN[0])
    )  # fmt: skip


def test_parts_and_overhead_add_up(model: LatencyModel) -> None:
    for graph in UNSEEN[:10]:
        explanation = model.explain(graph)
        assert isinstance(explanation, Explanation)
        assert explanation.latency == model.latency(graph)
        whole = explanation.latency.median_ms
        parts = sum(row.median_ms for row in explanation.kernels)
        assert parts + explanation.overhead_ms == pytest.approx(whole)
        shares = sum(row.share for row in explanation.kernels)
        assert shares + explanation.overhead_ms / whole == pytest.approx(1)
        uses = network_kernels(graph, "tvm", AVX2)
        assert [row.node for row in explanation.kernels] == [use.node for use in uses]
        for row in explanation.kernels:
            assert isinstance(row, KernelPrediction)
            assert 0 < row.low_ms < row.median_ms < row.high_ms


def test_doubt_is_small_for_timed_kernels_and_larger_for_others(model: LatencyModel) -> None:
    known = network_kernels(graphs(1, seed=0)[0], "tvm", AVX2)[1].kernel
    others = [use.kernel for use in network_kernels(large(), "tvm", AVX2) if use.node == "huge"]
    model.known.learn([known, *others])
    doubts = [model.known[kernel].doubt for kernel in others]
    assert model.known[known].doubt < 0.03 < max(doubts)


# Refusals


def test_a_kind_that_was_never_timed_is_refused_with_node_and_remedy(model: LatencyModel) -> None:
    with pytest.raises(NotProfiledError) as caught:
        model.latency(unlike())
    said = str(caught.value)
    assert "\n" not in said
    for part in ("formula", "w2a2", "nas device profile formula --space", "--extrapolate"):
        assert part in said
    assert "(odd)" in said or "(stem)" in said


def test_a_kernel_far_out_of_range_is_refused_with_its_distance(model: LatencyModel) -> None:
    with pytest.raises(NotProfiledError, match=r"'conv2d 3x3 fp32' within .* \(huge\)"):
        model.latency(large())
    with pytest.raises(NotProfiledError):
        model.latencies([UNSEEN[0], large()])
    with pytest.raises(NotProfiledError):
        model.explain(large())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("graph", [unlike(), large()], ids=["unlike", "large"])
def test_extrapolating_answers_with_a_wider_interval(
    name: ModelName, graph: Graph, tmp_path: Path
) -> None:
    model = make_model(tmp_path, name)

    latency, usual = model.latency(graph, extrapolate=True), model.latency(UNSEEN[0])

    assert latency.median_ms > 0
    assert (latency.model, latency.extrapolated) == (name, True)
    assert not usual.extrapolated
    assert latency.interval is not None
    assert usual.interval is not None
    assert latency.interval.high_ms / latency.interval.low_ms > 1.5 * (
        usual.interval.high_ms / usual.interval.low_ms
    )
    assert model.explain(graph, extrapolate=True).latency == latency


def test_extrapolating_changes_nothing_where_all_is_known(model: LatencyModel) -> None:
    assert model.latency(UNSEEN[0], extrapolate=True) == model.latency(UNSEEN[0])


def test_published_networks_are_predicted_or_refused_but_never_zero(model: LatencyModel) -> None:
    for name in ("mobilenet_v2", "shufflenet_v2", "squeezenet_1_1"):
        graph = get_network(name)(width=0.5, resolution=64, num_classes=10)
        assert model.latency(graph, extrapolate=True).median_ms > 0


# Refitting


def test_refitting_moves_predictions_to_what_was_measured(model: LatencyModel) -> None:
    slower = [(graph, measured(1.5 * network_ms(graph))) for graph in graphs(80, seed=7)]
    before = [model.latency(graph) for graph in UNSEEN]

    refitted = model.refitted(slower)

    ratios = [refitted.latency(g).median_ms / network_ms(g) for g in UNSEEN]
    assert 1.2 < np.median(ratios) < 1.55
    assert [model.latency(graph) for graph in UNSEEN] == before
    assert refitted.about["networks"] == model.about["networks"] + 80
    assert model.about["networks"] == 40


def test_refitting_with_nothing_changes_nothing(model: LatencyModel) -> None:
    assert model.refitted([]).latencies(UNSEEN) == model.latencies(UNSEEN)
    odd = model.refitted([(unlike(), measured(1.0))])
    assert odd.latencies(UNSEEN) == model.latencies(UNSEEN)


def test_a_refitted_model_is_kept_like_any_other(model: LatencyModel, tmp_path: Path) -> None:
    refitted = model.refitted([(graph, measured(network_ms(graph))) for graph in UNSEEN[:5]])
    refitted.save(tmp_path)
    again = LatencyModel.load("formula", tmp_path)
    assert again.latencies(UNSEEN) == refitted.latencies(UNSEEN)


# What it says of itself


def test_it_says_what_it_knows(model: LatencyModel) -> None:
    about = json.loads(json.dumps(dict(model.about)))

    assert model.device_name == about["device"] == "formula"
    assert model.vector_unit == AVX2
    assert (about["runtime"], about["cpu"], about["threads"]) == ("tvm", "a formula", 1)
    assert about["kernels"] > 100
    assert about["networks"] == 40
    assert about["set_aside"] == 0
    assert about["first"] == about["last"] == "2026-01-01T00:00:00+00:00"
    assert 0 < about["held_out"]["mape"] < 0.1
    assert about["held_out"]["within_10"] > 0.8


# Files


@pytest.mark.parametrize("name", MODELS)
def test_a_kept_model_predicts_the_same(name: ModelName, tmp_path: Path) -> None:
    model = make_model(tmp_path, name)

    path = model.save(tmp_path)
    again = LatencyModel.load("formula", tmp_path)

    assert path == tmp_path / "formula" / "model.npz"
    assert again.latencies(UNSEEN) == model.latencies(UNSEEN)
    assert again.explain(UNSEEN[0]) == model.explain(UNSEEN[0])
    assert again.about == model.about
    assert again.latency(unlike(), extrapolate=True) == model.latency(unlike(), extrapolate=True)
    assert [each.name for each in path.parent.glob("*.npz")] == ["model.npz"]


def test_a_model_that_cannot_be_written_is_one_line(model: LatencyModel, tmp_path: Path) -> None:
    (tmp_path / "formula").write_text("a file where the folder would be")
    with pytest.raises(UserError, match="cannot write"):
        model.save(tmp_path)


def test_profiled_devices_are_those_with_a_model(model: LatencyModel, tmp_path: Path) -> None:
    assert profiled_devices(tmp_path) == ()
    assert profiled_devices(tmp_path / "missing") == ()
    model.save(tmp_path)
    (tmp_path / "begun").mkdir()
    assert profiled_devices(tmp_path) == ("formula",)


def test_an_unknown_device_lists_the_known_ones(model: LatencyModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'phone' .*none so far.*nas device profile phone"):
        LatencyModel.load("phone", tmp_path)
    model.save(tmp_path)
    with pytest.raises(UserError, match=r"'phone' .*\(profiled devices: formula\)"):
        LatencyModel.load("phone", tmp_path)


def damaged(folder: Path, data: bytes) -> str:
    """What is said of a model file with such content."""
    (folder / "formula").mkdir(exist_ok=True)
    (folder / "formula" / "model.npz").write_bytes(data)
    with pytest.raises(UserError) as caught:
        LatencyModel.load("formula", folder)
    assert "\n" not in str(caught.value)
    assert "model.npz" in str(caught.value)
    return str(caught.value)


def kept(model: LatencyModel, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a model's file."""
    with np.load(model.save(folder)) as file:
        arrays = dict(file)
    return json.loads(arrays.pop("header").tobytes()), arrays


def write(folder: Path, header: object, arrays: dict[str, np.ndarray]) -> bytes:
    path = folder / "other.npz"
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **{"header": text, **arrays})  # type: ignore[arg-type]
    return path.read_bytes()


def test_damaged_files_are_refused_in_one_line(model: LatencyModel, tmp_path: Path) -> None:
    whole = model.save(tmp_path).read_bytes()

    for data in (b"", b"PK", b"not a model", b"\x80\x04N.", bytes(4096)):
        damaged(tmp_path, data)
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        damaged(tmp_path, whole[: int(len(whole) * share)])
    np.save(tmp_path / "one.npy", np.zeros(3))
    damaged(tmp_path, (tmp_path / "one.npy").read_bytes())
    np.save(tmp_path / "one.npy", np.array([{"a": 1}]), allow_pickle=True)
    damaged(tmp_path, (tmp_path / "one.npy").read_bytes())


def test_pickled_arrays_are_refused(model: LatencyModel, tmp_path: Path) -> None:
    header, arrays = kept(model, tmp_path)
    trap = tmp_path / "sprung"
    arrays["readings"] = np.array([Trap(trap)], dtype=object)

    said = damaged(tmp_path, write(tmp_path, header, arrays))

    assert "pickle" in said
    assert not trap.exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "")


def test_other_versions_and_formats_are_refused(model: LatencyModel, tmp_path: Path) -> None:
    header, arrays = kept(model, tmp_path)

    said = damaged(tmp_path, write(tmp_path, header | {"version": VERSION + 1}, arrays))
    assert f"version {VERSION + 1}" in said
    assert FORMAT in damaged(tmp_path, write(tmp_path, header | {"format": "other"}, arrays))
    assert "another version" in damaged(
        tmp_path, write(tmp_path, header | {"columns": []}, arrays)
    )
    damaged(tmp_path, write(tmp_path, [1, 2], arrays))
    damaged(tmp_path, write(tmp_path, None, arrays))


def test_every_part_of_a_file_is_needed(model: LatencyModel, tmp_path: Path) -> None:
    header, arrays = kept(model, tmp_path)

    for name in arrays:
        damaged(tmp_path, write(tmp_path, header, {k: v for k, v in arrays.items() if k != name}))
    for name in header:
        damaged(tmp_path, write(tmp_path, {k: v for k, v in header.items() if k != name}, arrays))
    for name in ("runtime", "vector_unit", "device", "model"):
        about = {k: v for k, v in header["about"].items() if k != name}
        damaged(tmp_path, write(tmp_path, header | {"about": about}, arrays))
    kernels = header["kernels"] | {"model": "oracle"}
    damaged(tmp_path, write(tmp_path, header | {"kernels": kernels}, arrays))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("trees0.left", lambda array: array + 10**6, "'trees0.left' must hold numbers between 0"),
        ("trees0.feature", lambda array: array + 10**4, "'trees0.feature' must hold numbers"),
        ("trees0.depth", lambda array: array * 0 + 32000, "'trees0.depth' must hold numbers"),
        ("trees1.value", lambda array: array[0], "'trees1.value' must be of shape"),
        ("trees1.threshold", lambda array: array * np.nan, "'trees1.threshold' must hold numbers"),
        ("readings", lambda array: array.astype(str), "'readings' must hold real numbers"),
        ("readings", lambda array: -array, "'readings' must hold numbers between"),
        ("networks", lambda array: array[:, None], "'networks' must be of shape N, got"),
        ("sums", lambda array: array * 0, "'sums' holds a network that takes no time"),
        ("prices", lambda array: array.T, "'prices' must be of shape"),
        ("variances", lambda array: array * np.inf, "'variances' must hold numbers"),
    ],
)
def test_arrays_that_are_not_what_they_should_be_are_named_when_they_are_loaded(
    name: str,
    spoil: Callable[[np.ndarray], np.ndarray],
    message: str,
    model: LatencyModel,
    tmp_path: Path,
) -> None:
    header, arrays = kept(model, tmp_path)
    with np.errstate(invalid="ignore"):
        arrays[name] = spoil(arrays[name])

    assert message in damaged(tmp_path, write(tmp_path, header, arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drift": float("nan")}, "about.drift must be a finite number"),
        ({"drift": 0}, "about.drift must be above 0"),
        ({"runtime": "torch"}, "about.runtime must be one of 'tvm', 'onnxruntime'"),
        ({"vector_unit": {"name": "x", "lanes": 0}}, "about.vector_unit lacks 'registers'"),
        ({"device": 3}, "about.device must be a text"),
    ],
)
def test_what_a_model_says_of_itself_is_held_against_its_kind(
    change: dict[str, Any], message: str, model: LatencyModel, tmp_path: Path
) -> None:
    header, arrays = kept(model, tmp_path)
    about = header["about"] | change

    assert message in damaged(tmp_path, write(tmp_path, header | {"about": about}, arrays))


def test_bytes_that_changed_are_noticed(model: LatencyModel, tmp_path: Path) -> None:
    whole = model.save(tmp_path).read_bytes()
    wanted = model.latencies(UNSEEN[:2])
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "formula" / "model.npz").write_bytes(data)
        try:
            assert LatencyModel.load("formula", tmp_path).latencies(UNSEEN[:2]) == wanted
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  (either is right)


def test_a_model_predicts_the_same_in_another_process(model: LatencyModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from latency_models.prediction.model import LatencyModel\n"
        "from tests.latency_models.parts.profiles import graphs\n"
        "model = LatencyModel.load('formula', Path(sys.argv[1]))\n"
        "print(repr(model.latencies(graphs(3, seed=99))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == repr(model.latencies(UNSEEN[:3]))
