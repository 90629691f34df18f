"""Devices elsewhere: servers on loopback that measure, and that are killed, hung and lie."""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer

import numpy as np
import psutil
import pytest

from latency_models.boards.board import time_ms
from latency_models.boards.remote import RemoteLink, open_board
from latency_models.boards.remote_cpu import detect
from latency_models.compiler.build import compile_kernels, kernel_module
from latency_models.compiler.library import calls, compile_model, functions, shapes, tile_choice
from latency_models.compiler.lower import lower
from latency_models.devices.cpu import host_cpu, host_features
from latency_models.devices.device import Device, parse_address
from latency_models.devices.latency import MeasurementError
from latency_models.measurement.backends import open_backend
from latency_models.measurement.device_check import check_device, small_network
from latency_models.measurement.measurer import Measurer
from latency_models.measurement.messages import Message
from latency_models.measurement.process import WorkerProcess
from latency_models.measurement.remote_backend import open_machine
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.fusion import fuse
from search_spaces.graphs.model import random_model
from tests.latency_models.measurement.test_measurer import QUICK
from tests.latency_models.measurement.test_process import FOREVER, compile_request, time_request
from tests.latency_models.parts.boards import (
    Liar,
    Server,
    board,
    closed_port,
    tracked_board,
    tracker,
)
from tests.waiting import PATIENCE_S, wait_until

HOST = host_cpu()
GRAPH = small_network()
MODEL = random_model(GRAPH, np.random.default_rng(0))
X = np.random.default_rng(1).normal(size=(2, *GRAPH.input_shape)).astype(np.float32)
LIMIT_S = PATIENCE_S
KEY = "pi"
MAGIC = 0xFF271  # what both ends of TVM's protocol say first
ACCEPTED = struct.pack("<ii", MAGIC, 7) + b"server:"  # a server's greeting, with its name
NOISE = np.random.default_rng(0).bytes(4096)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with board(tmp_path_factory.mktemp("board")) as server:
        yield server


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))


def device_at(address: str) -> Device:
    return Device("pi", "a board", HOST.mcpu, rpc=address)


def tracked_by(address: str) -> Device:
    return Device("pi", "any board", HOST.mcpu, tracker=address, key=KEY)


# What works


def test_kernels_run_and_are_timed_on_a_board(server: Server) -> None:
    there = open_board(device_at(server.address), LIMIT_S)
    network = lower(MODEL, HOST.vector_unit, tile_choice(HOST, tuned=False))
    kinds = shapes(network)
    module = kernel_module(functions(network, HOST), {"network": calls(network)}, kinds)
    memories = (
        X[:1],
        network.weights,
        np.zeros(kinds["workspace"], np.uint8),
        np.zeros(kinds["output"], np.float32),
    )
    tensors = [there.tensor(memory) for memory in memories]

    loaded = there.load(compile_kernels(module, HOST.target), HOST)
    loaded["network"](*tensors)

    np.testing.assert_array_equal(tensors[-1].numpy()[0], compile_model(MODEL, HOST).run(X[0]))
    assert min(time_ms(there, loaded, "network", tensors, repeat=3)) > 0
    assert there.mcpu == HOST.mcpu
    assert there.features == host_features()


@pytest.mark.slow
def test_a_device_elsewhere_is_checked_like_this_machine(server: Server) -> None:
    report = check_device(device_at(server.address), QUICK)

    assert report.difference <= 1e-4
    assert report.cpu == f"remote {HOST.mcpu} at {server.address}"
    conditions = report.latency.conditions
    assert conditions is not None
    assert conditions.cpu == report.cpu
    assert conditions.target == HOST.mcpu
    assert conditions.drift >= 1


@pytest.mark.slow
def test_networks_kernels_and_files_are_measured_on_a_board(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "network.so"
    with Measurer(device_at(server.address), plan=QUICK) as measurer:
        logits = measurer.logits(MODEL, X)
        measurer.export(MODEL, path)
        times = measurer.kernel_latencies(GRAPH)
        # Kernels of nanoseconds never sum up to milliseconds: a number of runs is enough.
        readings = measurer.kernel_readings(GRAPH, [0, 1], replace(QUICK, min_ms=0.0))
        latency = measurer.file_latency(path, GRAPH)

        np.testing.assert_array_equal(measurer.logits(path, X), logits)

    here = compile_model(MODEL, HOST)
    np.testing.assert_array_equal(logits, [here.run(x) for x in X])
    assert {kernel.node.name for kernel in fuse(GRAPH)} <= {time.name for time in times}
    assert all(time.median_ms > 0 for time in times)
    assert [reading.source for reading in readings] == ["measured"] * 2
    assert latency.median_ms > 0


@pytest.mark.slow
def test_a_board_tells_its_cpu(server: Server) -> None:
    # Most of the time is the import of TVM, which takes long where the machine is busy.
    assert detect("pi", rpc=server.address, limit_s=600) == (HOST.mcpu, "")


def test_a_board_without_the_instructions_for_the_code_is_refused(server: Server) -> None:
    other = ("x86-64-v3", "x86_64-linux-gnu")
    if HOST.architecture == "x86_64":
        other = ("cortex-a76", "aarch64-linux-gnu")
    device = Device("pi", "", other[0], triple=other[1], rpc=server.address)

    with pytest.raises(UserError, match=f"which the CPU at {server.address} does not have"):
        RemoteLink(device).connect(LIMIT_S)


def test_tiles_are_not_tuned_elsewhere() -> None:
    with pytest.raises(UserError, match="tuned by timing them on this machine"):
        open_backend("tvm", device_at("10.0.0.2:9090"), tuned=True)
    with pytest.raises(UserError, match="measure onnxruntime on the device itself"):
        open_backend("onnxruntime", device_at("10.0.0.2:9090"))


# What fails


def test_a_server_ends_a_session_that_takes_too_long_and_serves_the_next(server: Server) -> None:
    device, library = device_at(server.address), compile_model(MODEL, HOST).library_bytes()

    def run_for_long() -> None:
        there = open_board(device, 1.0)
        machine = open_machine(there, library)
        machine.save_function("main", "timed", there.tensor(X[:1]), include_return=False)
        time_ms(there, machine, "timed", (), number=10**9)

    with pytest.raises(RuntimeError, match="session has expired"):
        run_for_long()

    assert open_board(device, LIMIT_S).mcpu == HOST.mcpu


def test_a_client_that_sends_anything_does_not_end_the_server(server: Server) -> None:
    host, port = parse_address(server.address)
    greeting = struct.pack("<i", MAGIC)
    for sent in (b"", NOISE, greeting, greeting + struct.pack("<i", -1), greeting * 2 + NOISE):
        with socket.create_connection((host, port), timeout=LIMIT_S) as client:
            client.sendall(sent)

    assert open_board(device_at(server.address), LIMIT_S).mcpu == HOST.mcpu


@pytest.mark.slow
def test_code_that_crashes_on_a_board_costs_one_measurement(server: Server) -> None:
    device = device_at(server.address)
    worker = WorkerProcess(device, "tvm")
    try:
        worker.ask(compile_request(GRAPH), limit_s=LIMIT_S)
        Timer(0.5, kill_sessions, (worker, server)).start()

        with pytest.raises(MeasurementError, match=f"running it at {server.address}") as caught:
            worker.ask(time_request(FOREVER), limit_s=LIMIT_S)

        assert caught.value.kind == "crashed"
        worker.ask(compile_request(GRAPH), limit_s=LIMIT_S)
        assert worker.ask(time_request(QUICK), limit_s=LIMIT_S).data["runs_ms"]
    finally:
        worker.close()


def kill_sessions(worker: WorkerProcess, server: Server) -> None:
    wait_until(lambda: bool(worker.cpu))  # it has connected
    for session in psutil.Process(server.pid).children():
        os.kill(session.pid, signal.SIGSEGV)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (NOISE, "is not TVM RPC server"),
        (b"", "check the address"),
        (ACCEPTED + NOISE, "check the address"),
        (ACCEPTED + bytes(4096), "check the address"),
    ],
    ids=["noise", "nothing", "noise after a greeting", "zeros after a greeting"],
)
def test_what_is_no_server_is_told_as_such(answer: bytes, message: str) -> None:
    with Liar(answer) as liar:
        for device in (device_at(liar.address), tracked_by(liar.address)):
            with pytest.raises(MeasurementError, match=r"pi \(.*\) cannot be reached") as caught:
                open_board(device, LIMIT_S)
            assert caught.value.kind == "unreachable"
            assert "\n" not in str(caught.value)
            if device.rpc:
                assert message in str(caught.value)


def test_an_address_where_nothing_listens_is_told() -> None:
    address = closed_port()

    with pytest.raises(MeasurementError, match=rf"pi \({address}\) cannot be reached: Connect to"):
        open_board(device_at(address), LIMIT_S)
    with pytest.raises(MeasurementError, match="Connection refused; check the address, and that"):
        open_board(tracked_by(address), LIMIT_S)


@pytest.mark.slow
def test_a_server_that_is_silent_or_breaks_the_worker_costs_one_request() -> None:
    with Liar(None) as liar:
        worker = WorkerProcess(device_at(liar.address), "tvm")
        worker.connect_limit_s = 1.0
        try:
            with pytest.raises(MeasurementError, match="does not answer for 1 s") as caught:
                worker.ask(time_request(QUICK), limit_s=LIMIT_S)
            assert caught.value.kind == "unreachable"

            # The length of an answer, and then no answer of TVM's.
            liar.answer = ACCEPTED + struct.pack("<Qi", 100, 3) + NOISE
            worker.connect_limit_s = LIMIT_S
            with pytest.raises(MeasurementError, match="cannot be reached") as caught:
                worker.ask(time_request(QUICK), limit_s=LIMIT_S)
            assert caught.value.kind == "unreachable"
        finally:
            worker.close()


@pytest.mark.slow
def test_another_board_of_the_key_takes_over(tmp_path: Path) -> None:
    with tracker(tmp_path) as known:
        device = tracked_by(known.address)
        with pytest.raises(MeasurementError, match=r"no board of key 'pi' \(it has none\)"):
            open_board(device, LIMIT_S)
        worker = WorkerProcess(device, "tvm")
        with (
            tracked_board(tmp_path, known.address, KEY) as first,
            tracked_board(tmp_path, known.address, KEY) as second,
            tracked_board(tmp_path, known.address, KEY) as third,
        ):
            boards = {board.address: board for board in (first, second, third)}
            try:
                for number, kind, limit_s in (
                    (signal.SIGKILL, "crashed", LIMIT_S),
                    (signal.SIGSTOP, "timed out", 2.0),
                ):
                    worker.ask(compile_request(GRAPH), limit_s=LIMIT_S)
                    worker.cpu = ""
                    Timer(0.7, strike, (worker, boards, number)).start()
                    with pytest.raises(MeasurementError) as caught:
                        worker.ask(time_request(FOREVER), limit_s=limit_s)
                    assert caught.value.kind == kind
                    assert "\n" not in str(caught.value)
                worker.ask(compile_request(GRAPH), limit_s=LIMIT_S)
                answer = worker.ask(time_request(QUICK), limit_s=LIMIT_S)
                assert answer.data["runs_ms"]
                assert address_of(worker) in boards
            finally:
                worker.close()


def strike(worker: WorkerProcess, boards: dict[str, Server], number: int) -> None:
    """Sends a signal to the board that the worker measures on, which is then no board any more."""
    wait_until(lambda: bool(worker.cpu))
    boards.pop(address_of(worker)).signal(number)


def address_of(worker: WorkerProcess) -> str:
    return worker.cpu.rpartition(" at ")[2]


def test_a_request_without_the_device_needs_no_board() -> None:
    worker = WorkerProcess(device_at(closed_port()), "tvm")
    try:
        worker.ask(compile_request(GRAPH), limit_s=LIMIT_S)
        worker.ask(Message({"do": "check code"}), limit_s=LIMIT_S)
        with pytest.raises(MeasurementError, match="cannot be reached"):
            worker.ask(time_request(QUICK), limit_s=LIMIT_S)
    finally:
        worker.close()
