"""Workers in real processes: killed, hung, out of memory, orphaned; the next request succeeds."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from latency_models.boards.timing import TimingPlan
from latency_models.devices.device import Device
from latency_models.devices.latency import DeviceBusyError, MeasurementError
from latency_models.measurement.messages import Message
from latency_models.measurement.process import WorkerProcess
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Array, random_model
from search_spaces.graphs.operators import Conv2d, Linear
from search_spaces.space.architecture import to_json
from search_spaces.space.space import Architecture
from tests.latency_models.parts.cases import graph_of
from tests.waiting import PATIENCE_S, wait_until

DEVICE = Device("bench", "ONNX Runtime starts faster than TVM", runtime="onnxruntime")
SMALL = graph_of((3, 8, 8), Conv2d(4, norm="none", bias=True))
FOREVER = TimingPlan(min_ms=600_000, max_drift=1000)
LIMIT_S = PATIENCE_S


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    process = WorkerProcess(DEVICE, "onnxruntime")
    yield process
    process.close()


def compile_request(graph: Graph) -> Message:
    data = to_json(Architecture("", (), graph))["graph"]
    model = random_model(graph, np.random.default_rng(0))
    return Message({"do": "compile", "graph": data}, model.arrays)


def kernels_request(graph: Graph) -> Message:
    request = compile_request(graph)
    return replace(request, data={**request.data, "do": "kernels", "nodes": None})


def zeros(graph: Graph, name: str) -> Array:
    return np.zeros(graph.array_shapes()[name], np.float32)


def time_request(plan: TimingPlan) -> Message:
    return Message({"do": "time", "plan": asdict(plan)})


def test_a_worker_answers_and_ends_when_closed(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    answer = worker.ask(
        Message({"do": "run"}, {"x": np.ones((2, 3, 8, 8), np.float32)}), limit_s=LIMIT_S
    )

    assert answer.arrays["logits"].shape == (2, 4, 8, 8)
    pid = worker.pid
    assert pid is not None
    worker.close()
    assert not is_alive(pid)


def test_a_killed_worker_costs_one_request(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    pid = worker.pid
    assert pid is not None
    Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()

    with pytest.raises(MeasurementError, match="ended by signal SIGKILL") as caught:
        worker.ask(time_request(FOREVER), limit_s=LIMIT_S)

    assert caught.value.kind == "crashed"
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    assert worker.pid not in (None, pid)


def test_a_worker_that_died_idle_is_replaced_unnoticed(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not worker.is_running())

    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)


def test_a_request_beyond_its_time_limit_ends_the_worker(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    pid = worker.pid
    assert pid is not None

    with pytest.raises(MeasurementError, match=r"took more than 0\.2 s") as caught:
        worker.ask(time_request(FOREVER), limit_s=0.2)

    assert caught.value.kind == "timed out"
    assert not is_alive(pid)


def test_a_network_beyond_the_memory_limit_is_told_so() -> None:
    large = graph_of((1000, 8, 8), Linear(1000, bias=False))  # 256 MB of weights
    request = replace(compile_request(SMALL), arrays={"node.weight": zeros(large, "node.weight")})
    worker = WorkerProcess(DEVICE, "onnxruntime", memory_bytes=200 * 2**20)
    try:
        with pytest.raises(MeasurementError, match=r"does not fit in 0\.195 GiB") as caught:
            worker.ask(request, limit_s=LIMIT_S)
        assert caught.value.kind == "out of memory"
        worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    finally:
        worker.close()


def test_what_a_runtime_lacks_keeps_the_worker(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
    pid = worker.pid

    with pytest.raises(UnsupportedOperatorError, match="no times per kernel"):
        worker.ask(kernels_request(SMALL), limit_s=LIMIT_S)

    assert worker.pid == pid
    assert worker.is_running()


def test_a_file_that_cannot_be_written_or_read_is_told_by_name(
    worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)

    with pytest.raises(UserError, match="nowhere"):
        worker.ask(
            Message({"do": "save", "path": str(tmp_path / "nowhere/model.onnx")}), limit_s=LIMIT_S
        )
    with pytest.raises(UserError, match="missing"):
        worker.ask(
            Message({"do": "load", "path": str(tmp_path / "missing.onnx")}), limit_s=LIMIT_S
        )


def test_a_machine_too_busy_for_the_plan_is_told_as_such(worker: WorkerProcess) -> None:
    worker.ask(compile_request(SMALL), limit_s=LIMIT_S)

    # No machine runs its reference kernel at half of its best time.
    remedy = r"times its best.*stop what else runs on this machine, or raise --max-drift"
    with pytest.raises(DeviceBusyError, match=remedy):
        worker.ask(time_request(TimingPlan(max_drift=0.5, patience_s=0.1)), limit_s=LIMIT_S)


def test_a_device_that_cannot_be_opened_is_refused_each_time() -> None:
    worker = WorkerProcess(Device("mine", "", threads=2), "tvm")

    for _ in range(2):
        with pytest.raises(UserError, match="device mine: TVM kernels run on 1 thread"):
            worker.ask(compile_request(SMALL), limit_s=LIMIT_S)
        assert worker.pid is None


def test_a_busy_worker_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from tests.latency_models.measurement.test_process import *\n"
        "worker = WorkerProcess(DEVICE, 'onnxruntime')\n"
        "worker.ask(compile_request(SMALL), limit_s=LIMIT_S)\n"
        "print(worker.pid, flush=True)\n"
        "worker.ask(time_request(FOREVER), limit_s=600)\n"
    )
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": root}
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    wait_until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Tells whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
