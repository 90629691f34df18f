"""Boards on loopback for tests: real servers in processes of their own, and one that lies."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
SERVE = """
from latency_models.devices.lazy import leave_torch_out
leave_torch_out()  # as nas device serve does
from latency_models.boards.server import serve_board, serve_tracker
def say(line): print(line, flush=True)
"""


class Server:
    """A server of a board, or a tracker; its sessions are processes of its group."""

    def __init__(self, script: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
            start_new_session=True,
            bufsize=0,  # a line that was read ahead could not be waited for
        )
        self._address = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        """Host and port; waits until it listens."""
        if not self._address:
            self._address = self.line().rpartition(" at ")[2].partition(" as ")[0]
        return self._address

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        assert ready, f"no line for {PATIENCE_S:g} s"
        return self._process.stdout.readline().decode().strip()

    def signal(self, number: int) -> None:
        """Sends a signal to the server and its sessions."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self) -> None:
        """Waits until it has ended by itself."""
        self._process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def board(folder: Path) -> Server:
    return Server(f"{SERVE}serve_board('127.0.0.1', 0, say)", folder)


def tracked_board(folder: Path, tracker: str, key: str) -> Server:
    return Server(
        f"{SERVE}serve_board('127.0.0.1', 0, say, tracker={tracker!r}, key={key!r})", folder
    )


def tracker(folder: Path) -> Server:
    return Server(f"{SERVE}serve_tracker('127.0.0.1', 0, say)", folder)


class Liar:
    """Answers whoever connects with ``answer``, whatever that is, or not at all."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            if self.answer is not None:
                with suppress(OSError):
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for held in (self._listening, *self._open):
            held.close()


def closed_port() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"
