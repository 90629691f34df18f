"""The worker's process, seen from outside: started, asked, and replaced when it fails.

Whatever a model does to the worker (crash, hang, eat the memory) is one `MeasurementError`; the
next request gets a fresh process. The worker dies with the process that started it.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from tempfile import TemporaryFile
from threading import Lock
from time import monotonic
from typing import IO

from latency_models.devices.device import Device, Runtime
from latency_models.devices.host import cpu_name
from latency_models.devices.latency import DeviceBusyError, MeasurementError
from latency_models.devices.own import own_file
from latency_models.measurement.messages import Message, pack, unpack
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError

START_LIMIT_S = 180.0  # importing TVM takes seconds, on a loaded machine many of them
CONNECT_LIMIT_S = 20.0  # to a device elsewhere
ON_DEVICE = ("load", "run", "time", "kernels", "time kernels")  # requests that need the device
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TVM_NUM_THREADS",
)


def installed_memory() -> int:
    """Returns the bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class WorkerProcess:
    """One worker on one device.

    Args:
        tuned: Whether TVM's tiles are chosen by timing them.
        memory_bytes: What the worker may allocate; None is all that the machine has.
    """

    def __init__(
        self,
        device: Device,
        runtime: Runtime,
        *,
        tuned: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        self.device = device
        self.runtime = runtime
        self.tuned = tuned
        self.memory_bytes = memory_bytes or installed_memory()
        self.version = ""
        self.target = ""
        self.instruction_sets: tuple[str, ...] = ()
        self.cpu = "" if device.is_remote else cpu_name()
        self.connect_limit_s = CONNECT_LIMIT_S
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._lock = Lock()

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return None if self._process is None else self._process.pid

    def ask(self, request: Message, *, limit_s: float) -> Message:
        """Returns the worker's answer, from a new worker where none runs.

        A new worker has no model yet: "compile" or "load" must come first.

        Raises:
            UnsupportedOperatorError: If the runtime cannot run the model.
            UserError: If the request cannot be met, for example a file not be written.
            MeasurementError: If the worker crashed, ran out of memory or of time, waited in
                vain for a quiet machine, or cannot reach a device elsewhere.
        """
        with self._lock:
            try:
                if not self.is_running():
                    self._restart()
                if self.device.is_remote and request.data["do"] in ON_DEVICE:
                    connected = self._exchange(
                        Message({"do": "connect", "limit_s": limit_s}), self.connect_limit_s
                    )
                    self.cpu = connected.data["cpu"]
                return self._exchange(request, limit_s)
            except (UnsupportedOperatorError, MeasurementError, UserError):
                raise
            except BaseException:
                self._end()  # an unread answer must not be taken for the next one's
                raise

    def start(self) -> None:
        """Starts the worker where none runs, so that what it says of itself is known.

        Raises: as `ask`.
        """
        with self._lock:
            if not self.is_running():
                self._restart()

    def hurry(self) -> None:
        """Lets the worker wait for no quiet machine any more, also in the request under way."""
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGURG)

    def is_running(self) -> bool:
        """Tells whether the worker's process lives."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """Ends the worker."""
        with self._lock:
            self._end()

    def _restart(self) -> None:
        self._end()
        self._start()
        try:
            self._open()
        except BaseException:
            self._end()
            raise

    def _start(self) -> None:
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(self.device.threads))
        self._errors = TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "latency_models.measurement.worker"),
                *("--parent", str(os.getpid())),
                *("--memory-bytes", str(self.memory_bytes)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    def _open(self) -> None:
        data = {"device": asdict(self.device), "runtime": self.runtime, "tuned": self.tuned}
        try:
            opened = self._exchange(Message({"do": "open", **data}), START_LIMIT_S)
        except MeasurementError as error:
            if error.kind not in ("crashed", "timed out"):
                raise
            self._end()  # no network's fault: every one of them would fail alike
            raise UserError(
                f"{self.runtime} does not start on {self.device.name} ({error}); check the "
                "installation: pip install . in the folder of hwnas's sources"
            ) from None
        self.version, self.target = opened.data["version"], opened.data["target"]
        self.instruction_sets = tuple(opened.data["instruction_sets"])

    def _exchange(self, request: Message, limit_s: float) -> Message:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = monotonic() + limit_s
        try:
            with suppress(BrokenPipeError):  # it may have answered before it went
                for part in pack(request):
                    write(process.stdin.fileno(), part, deadline)
            answer = unpack(reader(process.stdout.fileno(), deadline))
        except TimeoutError:
            self._end()
            raise self._too_late(request.data["do"], limit_s) from None
        except EOFError:
            raise self._crash(request.data["do"]) from None
        if "error" in answer.data:
            self._fail(answer.data["error"], answer.data["message"])
        return answer

    def _too_late(self, do: str, limit_s: float) -> MeasurementError:
        name = self.device.name
        if do == "connect":
            return MeasurementError(
                "unreachable",
                f"{name} ({self.device.where}) does not answer for {limit_s:g} s; look whether "
                "its server hangs or serves somebody else",
            )
        server = ", or look whether its server hangs" if self.device.is_remote else ""
        return MeasurementError(
            "timed out",
            f"{do} on {name} took more than {limit_s:g} s; raise the time limit or search "
            f"smaller networks{server}",
        )

    def _fail(self, kind: str, message: str) -> None:
        match kind:
            case "unsupported":
                raise UnsupportedOperatorError(message)
            case "user":
                raise UserError(message)
            case "busy":
                raise DeviceBusyError(f"{message}; {quieter(self.device)}")
            case "unreachable":
                raise MeasurementError("unreachable", message)
            case "out of memory":
                self._end()  # what the failed request allocated goes with it
                raise MeasurementError(
                    "out of memory",
                    f"the network does not fit in {self.memory_bytes / 2**30:.3g} GiB while it "
                    f"is compiled or run on {self.device.name}; search smaller networks",
                )
        raise MeasurementError(
            "crashed", f"{self.runtime} failed on this network on {self.device.name}: {message}"
        )

    def _crash(self, do: str) -> MeasurementError:
        """Ends what is left of a worker that went away, and returns what it died of."""
        assert self._process is not None
        assert self._errors is not None
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._end()
        last = f"; its last words: {lines[-1]}" if lines else ""
        if status < 0:
            how = f"by signal {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                how += " (so does a system that runs out of memory)"
        else:
            how = f"with status {status}"
        if do == "connect":
            return MeasurementError(
                "unreachable",
                f"{self.device.name} ({self.device.where}) cannot be reached: the worker ended "
                f"{how} on its answers{last}; check that what runs there is a server of TVM",
            )
        return MeasurementError(
            "crashed", f"the worker of {self.device.name} ended {how} on this network{last}"
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with compilers that it has started
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            assert stream is not None
            stream.close()


def quieter(device: Device) -> str:
    """Returns what a user can do about a device that is too busy to measure on."""
    where = device.where if device.is_remote else "this machine"
    own = own_file(device.name)
    kept = f", or max_drift in {own}" if own else ""
    return f"stop what else runs on {where}, or raise --max-drift (now {device.max_drift:g}){kept}"


def write(descriptor: int, data: bytes | memoryview, deadline: float) -> None:
    """Writes all of ``data``; raises TimeoutError at the deadline."""
    rest = memoryview(data)
    while rest:
        wait_for(descriptor, select.POLLOUT, deadline)
        rest = rest[os.write(descriptor, rest) :]


def reader(descriptor: int, deadline: float) -> Callable[[int], bytes]:
    """Returns a function that reads exactly so many bytes.

    It raises TimeoutError at the deadline, and EOFError where the other end closes first.
    """

    def read(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            wait_for(descriptor, select.POLLIN, deadline)
            part = os.read(descriptor, size - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    return read


def wait_for(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - monotonic()) * 1000):
        raise TimeoutError
