"""What every back end does, whichever runtime it is and wherever it runs networks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from latency_models.boards.timing import time_blocks
from latency_models.compiler.network_kernels import network_kernels
from latency_models.devices.cpu import host_cpu, vector_unit_of
from latency_models.devices.device import RUNTIMES, Device, Runtime
from latency_models.measurement.backends import (
    ELSEWHERE,
    HERE,
    Backend,
    Runner,
    open_backend,
    random_input,
)
from latency_models.measurement.device_check import small_network
from latency_models.onnx.model import onnx_model
from latency_models.onnx.session import open_session, run_session
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.fusion import fuse
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Weightless
from tests.latency_models.measurement.test_measurer import QUICK
from tests.latency_models.parts.boards import board

ROWS = [("here", runtime) for runtime in HERE] + [("elsewhere", runtime) for runtime in ELSEWHERE]
SESSION_S = 300.0
GRAPH = small_network()
MODEL = random_model(GRAPH, np.random.default_rng(0))
IMAGES = np.random.default_rng(1).normal(size=(2, *GRAPH.input_shape)).astype(np.float32)


class Odd(Weightless):
    """An operator that nobody has a kernel for."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A back end whose device, if it is elsewhere, is connected."""

    runtime: Runtime
    device: Device
    backend: Backend
    runner: Runner


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    where, runtime = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        device = Device("bench", "this machine", runtime=runtime)
        if where == "here":
            backend = open_backend(runtime, device)
            yield Opened(runtime, device, backend, backend.compile(MODEL))
            return
        with board(tmp_path_factory.mktemp("board")) as server:
            device = replace(device, mcpu=host_cpu().mcpu, rpc=server.address)
            backend = open_backend(runtime, device)
            assert backend.link is not None
            assert server.address in backend.link.connect(SESSION_S)
            yield Opened(runtime, device, backend, backend.compile(MODEL))
            backend.link.disconnect()


def test_every_runtime_has_a_back_end() -> None:
    assert set(HERE) == set(RUNTIMES)
    assert set(ELSEWHERE) <= set(RUNTIMES)


def test_it_says_what_it_is(opened: Opened) -> None:
    backend = opened.backend

    assert backend.version[0].isdigit()
    assert backend.target in ("", host_cpu().mcpu)
    assert vector_unit_of(backend.instruction_sets) == host_cpu().vector_unit
    assert (backend.link is None) == (not opened.device.is_remote)


def test_it_computes_the_network(opened: Opened) -> None:
    wanted = run_session(open_session(onnx_model(MODEL).SerializeToString()), IMAGES)

    logits = opened.runner.run(IMAGES)

    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, wanted, atol=1e-4)


def test_it_times_as_many_runs_as_are_asked_for(opened: Opened) -> None:
    block, reference = opened.runner.block(IMAGES[:1]), opened.backend.reference

    timed = time_blocks(block, reference.block, None, QUICK)

    assert len(block(0)) == 1
    assert len(timed.runs_ms) >= QUICK.min_runs
    assert sum(timed.runs_ms) >= QUICK.min_ms
    assert min(timed.runs_ms) > 0
    assert timed.drift >= 1


def test_the_reference_kernel_is_the_same_each_time(opened: Opened) -> None:
    first, again = opened.backend.reference, opened.backend.reference

    assert first.path == again.path
    assert min(first.block(0)) > 0


def test_a_file_computes_what_was_compiled(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "network.so"  # TVM goes by the suffix
    opened.runner.save(path)

    loaded = opened.backend.load(path)

    np.testing.assert_array_equal(loaded.run(IMAGES), opened.runner.run(IMAGES))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_that_is_missing_is_named(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises((UserError, OSError), match="missing"):
        opened.backend.load(tmp_path / "missing")


def test_its_own_code_is_as_wide_as_the_cpu(opened: Opened) -> None:
    opened.runner.check_code()


def test_kernel_times_name_nodes_or_it_says_that_it_has_none(opened: Opened) -> None:
    backend = opened.backend
    try:
        every = backend.kernels_ms(MODEL, None)
    except UnsupportedOperatorError as error:
        assert "; use runtime" in str(error)  # noqa: PT017  (either is right)
        return

    nodes = [node for node, _, _ in every]
    assert {kernel.node.name for kernel in fuse(GRAPH)} <= set(nodes)
    assert set(nodes) <= {"input", *(node.name for node in GRAPH.nodes)}
    assert all(ms > 0 for _, ms, _ in every)
    some = [node for node, _, _ in backend.kernels_ms(MODEL, {"expand", "classifier"})]
    assert some == [node for node in nodes if node in ("expand", "classifier")]
    assert backend.kernels_ms(MODEL, ()) == []


def test_chosen_kernels_are_blocks_that_give_one_time_each(opened: Opened) -> None:
    last = len(network_kernels(GRAPH, opened.runtime, host_cpu().vector_unit)) - 1

    blocks = opened.backend.kernel_blocks(GRAPH, [last, 0])

    times = [block(duration_ns) for block in blocks for duration_ns in (0, 1e6)]
    assert [len(time) for time in times] == [1] * 4
    assert min(time[0] for time in times) > 0
    assert opened.backend.kernel_blocks(GRAPH, []) == []


def test_an_operator_without_a_kernel_is_refused(opened: Opened) -> None:
    last = GRAPH.output
    node = Node("odd", Odd(), (last.name,), last.shape)  # type: ignore[arg-type]
    graph = Graph(GRAPH.input_shape, (*GRAPH.nodes, node))

    with pytest.raises(UnsupportedOperatorError):
        opened.backend.compile(Model(graph, MODEL.arrays))


def test_a_network_runs_on_an_image_of_ordinary_numbers() -> None:
    image = random_input(GRAPH.input_shape)

    assert image.shape == (1, *GRAPH.input_shape)
    np.testing.assert_array_equal(image, random_input(GRAPH.input_shape))
