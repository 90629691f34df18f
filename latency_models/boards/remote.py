"""Remote boards: a session with TVM's RPC server on one, found at its address or by a tracker.

A session lasts for one request (running a network, timing it), so that several processes may share
a board, and a board that is lost is looked for again, or another one of its key taken.

Anyone who reaches such a server can run any code on it, and it can send any answer: what it says
is checked, and a session that breaks ends nothing but the measurement at hand.
"""

import gc
import re
import socket
import struct
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import rpc
from tvm.rpc.base import RPC_TRACKER_MAGIC, TrackerCode, recvall, recvjson, sendjson

from latency_models.boards.library_file import library_bytes
from latency_models.devices.cpu import Cpu, instruction_sets
from latency_models.devices.device import Device, cpu_of, parse_address
from latency_models.devices.latency import MeasurementError
from search_spaces.graphs.errors import UserError, plain

TRACKER_S = 10.0  # a free board must be found within
ATTEMPTS = 5  # boards that a tracker names and that are gone
ENDING_S = 5.0  # a session may outlive its request before the server kills it
CHECK = re.compile(r"^Check failed: \(.*?\) is false: ")
FEATURE = re.compile(r'"([\w.-]+)": T\.bool\((True|False)\)')  # of a board's CPU, as TVM prints it


class RemoteBoard:
    """A session with a board; it ends when everything that was made in it is gone.

    Attributes:
        address: Host and port of the board itself.
        mcpu: LLVM's name of its CPU; "" where its TVM has no compiler and cannot tell.
        triple: LLVM's name of its platform, or "".
        features: The instruction sets that it really offers; None where it cannot tell.
    """

    def __init__(self, session: Any, address: str) -> None:  # noqa: ANN401  tvm is untyped
        self.address = address
        self.device = session.cpu()
        self._session = session
        self._num_loaded = 0
        self.mcpu = self._told("target.llvm_get_system_cpu")
        self.triple = self._told("target.llvm_get_system_triple")
        self.features = self._features()

    def check_runs(self, cpu: Cpu) -> None:
        if self.features is None:
            return
        if lacking := sorted(instruction_sets(cpu.features) - self.features):
            raise UserError(
                f"code for {cpu.mcpu!r} needs {', '.join(lacking)}, which the {self.mcpu} at "
                f"{self.address} does not have; name that CPU in the device's file"
            )

    def load(self, compiled: Any, cpu: Cpu) -> Any:  # noqa: ANN401
        self.check_runs(cpu)
        return self.load_file(library_bytes(compiled, cpu))

    def load_file(self, library: bytes) -> Any:  # noqa: ANN401
        """Returns the module of a ``.so`` file, loaded on the board."""
        self._num_loaded += 1
        name = f"library_{self._num_loaded}.so"
        self._session.upload(bytearray(library), name)
        return self._session.load_module(name)

    def tensor(self, array: NDArray[Any]) -> Any:  # noqa: ANN401
        return tvm.runtime.tensor(np.ascontiguousarray(array), self.device)

    def _told(self, function: str) -> str:
        try:
            return str(self._session.get_function(function)())
        except AttributeError:
            return ""

    def _features(self) -> frozenset[str] | None:
        try:
            features = self._session.get_function("tvm.codegen.llvm.GetHostCPUFeatures")()
            text = str(self._session.get_function("ffi.ReprPrint")(features))
        except AttributeError:
            return None
        told = dict(FEATURE.findall(text))
        if not told or not self.mcpu:
            return None
        # As of this machine's CPU: what its name promises, less what is hidden, and what is new.
        named = Cpu(self.mcpu, self.triple).features
        hidden = {name for name, has in told.items() if has == "False"}
        return instruction_sets(named - hidden | (told.keys() - hidden))


class RemoteLink:
    """The connection to a device elsewhere: at most one session at a time."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._board: RemoteBoard | None = None

    @property
    def board(self) -> RemoteBoard:
        assert self._board is not None, "a request that needs the board was not announced"
        return self._board

    def connect(self, limit_s: float) -> str:
        """Opens a session for one request, and returns what is known of the board's CPU.

        Args:
            limit_s: What the request may take; the server ends the session soon after.

        Raises:
            MeasurementError: If no board can be reached.
            UserError: If its CPU lacks instructions that code for the device needs.
        """
        self.disconnect()
        self._board = board = open_board(self._device, limit_s + ENDING_S)
        cpu_of(self._device, board.features)
        return f"remote {board.mcpu or self._device.mcpu} at {board.address}"

    def disconnect(self) -> None:
        if self._board is not None:
            self._board = None
            gc.collect()  # the server serves the next one when the last object is gone

    def explain(self, error: Exception) -> Exception:
        """Returns ``error`` as what it means for the measurement at hand."""
        if self._board is None:
            return error
        return MeasurementError(
            "crashed",
            f"running it at {self._board.address} failed or lost the connection "
            f"({last_line(error)}); look whether the server there still runs",
        )


def open_board(device: Device, session_s: float) -> RemoteBoard:
    """Returns a session with the device, or with a free board of its tracker's key.

    Args:
        session_s: After so many seconds the server ends it.

    Raises:
        MeasurementError: If there is none.
    """
    if device.rpc:
        host, port = parse_address(device.rpc)
        try:
            return connect(host, port, "", session_s)
        except Exception as error:  # whatever answers there, it may answer anything
            raise unreachable(
                device,
                f"{last_line(error)}; check the address, and that `nas device serve` runs there",
            ) from None
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            host, port, key = free_board(*parse_address(device.tracker), device.key)
        except MeasurementError:
            raise
        except TimeoutError:
            raise unreachable(
                device, f"no board was free for {TRACKER_S:g} s; wait, or start another one"
            ) from None
        except Exception as error:
            raise unreachable(
                device,
                f"{last_line(error)}; check the address, and that `nas device tracker` runs there",
            ) from None
        try:
            return connect(host, port, key, session_s)
        except Exception as error:
            reason = f"{host}:{port}: {last_line(error)}"  # the tracker now knows one less
    raise unreachable(
        device, f"{ATTEMPTS} boards in a row did not answer (the last was {reason}); restart them"
    )


def connect(host: str, port: int, key: str, session_s: float) -> RemoteBoard:
    session = rpc.connect(host, port, key, session_timeout=session_s)
    return RemoteBoard(session, f"{host}:{port}")


def free_board(host: str, port: int, key: str) -> tuple[str, int, str]:
    """Returns host, port and password of the next free board of a key; waits for one.

    Raises:
        MeasurementError: If the tracker knows no such board.
    """
    with socket.create_connection((host, port), timeout=TRACKER_S) as tracker:
        tracker.sendall(struct.pack("<i", RPC_TRACKER_MAGIC))
        (magic,) = struct.unpack("<i", recvall(tracker, 4))
        if magic != RPC_TRACKER_MAGIC:
            raise ValueError("what answers there is no tracker")
        known = {row["key"].partition(":")[2] for row in ask(tracker, "SUMMARY")["server_info"]}
        if key not in known:
            has = ", ".join(sorted(known)) or "none"
            raise MeasurementError(
                "unreachable",
                f"the tracker at {host}:{port} knows no board of key {key!r} (it has {has}); "
                "start `nas device serve` with this tracker and key on one",
            )
        board, board_port, password = ask(tracker, "REQUEST", key, "", 1)
    return str(board), int(board_port), str(password)


def ask(tracker: socket.socket, code: str, *arguments: object) -> Any:  # noqa: ANN401
    sendjson(tracker, [getattr(TrackerCode, code), *arguments])
    status, value = recvjson(tracker)
    if status != TrackerCode.SUCCESS:
        raise ValueError(f"the tracker refused: {value}")
    return value


def unreachable(device: Device, reason: str) -> MeasurementError:
    return MeasurementError(
        "unreachable", f"{device.name} ({device.where}) cannot be reached: {reason}"
    )


def last_line(error: Exception) -> str:
    """Returns the last line of an error's text, where TVM puts the reason."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return plain(CHECK.sub("", line)) or plain(line)
