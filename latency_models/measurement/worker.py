"""Worker: compiles and times models in a process of its own, started by `process`.

It answers messages from standard input on standard output until the input ends. What a runtime
prints goes to standard error, where it cannot be mistaken for an answer.
"""

import os
import resource
import select
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

from latency_models.boards.timing import TimingPlan, time_blocks
from latency_models.devices.device import Device
from latency_models.devices.latency import MeasurementError
from latency_models.devices.lazy import leave_torch_out
from latency_models.measurement.backends import Backend, Runner, open_backend, random_input
from latency_models.measurement.messages import Message, pack, unpack
from latency_models.measurement.reference import best_reference_ms, keep_best_reference
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Shape
from search_spaces.space.architecture import read_graph

HURRY = signal.SIGURG  # a worker that does not listen yet ignores it
_hurried = threading.Event()


def may_wait() -> bool:
    """Whether whoever asks has time to wait for a quiet machine."""
    return not _hurried.is_set()


class Worker:
    """What is open: a backend on a device, and the last model or file given."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self._runner: Runner | None = None
        self._shape: Shape = (0, 0, 0)

    def answer(self, request: Message) -> Message:
        """Returns the answer to one request; its "do" names the method that gives it."""
        method = self.ANSWERS[request.data["do"]]
        link = None if self._backend is None else self._backend.link
        if link is None or method is Worker.connect:
            return method(self, request)
        try:
            return method(self, request)
        except UserError:
            raise
        except Exception as error:
            raise link.explain(error) from error
        finally:
            link.disconnect()

    def open(self, request: Message) -> Message:
        device = Device(**request.data["device"])
        self._backend = open_backend(request.data["runtime"], device, tuned=request.data["tuned"])
        return Message(
            {
                "version": self._backend.version,
                "target": self._backend.target,
                "instruction_sets": sorted(self._backend.instruction_sets),
            }
        )

    def connect(self, request: Message) -> Message:
        """Connects to a device elsewhere for the next request, whatever that is."""
        assert self._backend is not None
        assert self._backend.link is not None
        return Message({"cpu": self._backend.link.connect(request.data["limit_s"])})

    def compile(self, request: Message) -> Message:
        assert self._backend is not None
        self._runner = None  # the old model's memory, before the new one needs its own
        start = perf_counter()
        graph = read_graph(request.data["graph"])
        self._runner = self._backend.compile(Model(graph, request.arrays))
        self._shape = graph.input_shape
        return Message({"compile_s": perf_counter() - start})

    def load(self, request: Message) -> Message:
        assert self._backend is not None
        self._runner = self._backend.load(Path(request.data["path"]))
        channels, height, width = request.data["shape"]
        self._shape = channels, height, width
        return Message({})

    def time(self, request: Message) -> Message:
        runner = self._loaded()
        assert self._backend is not None
        reference = self._backend.reference
        block, plan = runner.block(random_input(self._shape)), timing_plan(request)
        best_ms = best_reference_ms(reference.path)
        reading = time_blocks(block, reference.block, best_ms, plan, may_wait=may_wait)
        keep_best_reference(reference.path, reading.best_reference_ms)
        return Message(
            {
                "runs_ms": reading.runs_ms,
                "reference_ms": reading.reference_ms,
                "drift": reading.drift,
            }
        )

    def time_kernels(self, request: Message) -> Message:
        assert self._backend is not None
        graph, reference = read_graph(request.data["graph"]), self._backend.reference
        plan, rows = timing_plan(request), []
        for block in self._backend.kernel_blocks(graph, request.data["indices"]):
            best_ms = best_reference_ms(reference.path)
            reading = time_blocks(block, reference.block, best_ms, plan, may_wait=may_wait)
            keep_best_reference(reference.path, reading.best_reference_ms)
            rows.append((reading.runs_ms, reading.reference_ms, reading.drift))
        return Message({"readings": rows})

    def kernels(self, request: Message) -> Message:
        assert self._backend is not None
        model = Model(read_graph(request.data["graph"]), request.arrays)
        return Message({"kernels_ms": self._backend.kernels_ms(model, request.data["nodes"])})

    def run(self, request: Message) -> Message:
        return Message({}, {"logits": self._loaded().run(request.arrays["x"])})

    def check_code(self, request: Message) -> Message:
        self._loaded().check_code()
        return Message({})

    def save(self, request: Message) -> Message:
        self._loaded().save(Path(request.data["path"]))
        return Message({})

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise LookupError("no model is loaded; the worker before this one died with it")
        return self._runner

    ANSWERS = {  # noqa: RUF012  (constant)
        "open": open,
        "connect": connect,
        "compile": compile,
        "load": load,
        "time": time,
        "kernels": kernels,
        "time kernels": time_kernels,
        "run": run,
        "check code": check_code,
        "save": save,
    }


def timing_plan(request: Message) -> TimingPlan:
    settings = request.data["plan"]
    return TimingPlan(**{**settings, "window_ms": tuple(settings["window_ms"])})


def failure(error: Exception) -> Message:
    """Returns the answer that tells what went wrong, in one line."""
    text = str(error).strip().splitlines() or [""]
    match error:
        case MeasurementError():
            return Message({"error": error.kind, "message": text[0]})
        case UnsupportedOperatorError():
            return Message({"error": "unsupported", "message": text[0]})
        case UserError() | OSError():
            return Message({"error": "user", "message": text[0]})
        case MemoryError():
            return Message({"error": "out of memory", "message": ""})
    if "bad_alloc" in str(error) or "bad allocation" in str(error):
        return Message({"error": "out of memory", "message": ""})
    # TVM puts its traceback first and the reason last.
    return Message({"error": "crashed", "message": f"{type(error).__name__}: {text[-1]}"})


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answers requests until ``source`` ends."""

    def read(size: int) -> bytes:
        data = source.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def tell(answer: Message) -> None:
        sink.writelines(pack(answer))
        sink.flush()

    worker = Worker()
    while True:
        try:
            request = unpack(read)
        except EOFError:
            return
        except MemoryError as error:
            tell(failure(error))
            return  # in the middle of a message: what follows cannot be understood
        try:
            answer = worker.answer(request)
        except Exception as error:  # every failure is an answer; the next request may succeed
            answer = failure(error)
        del request  # its arrays, before the next one's
        tell(answer)


def die_with(parent: int, source: int) -> None:
    """Ends this process when its parent has died, whatever it is doing."""
    poll = select.poll()
    poll.register(source, 0)  # tells only that the other end is gone
    while os.getppid() == parent and not poll.poll(1000):
        pass
    os._exit(1)


def main() -> None:
    """Serves one parent process over the standard streams."""
    leave_torch_out()
    signal.signal(HURRY, lambda number, frame: _hurried.set())
    parser = ArgumentParser(prog="latency_models.measurement.worker")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (arguments.memory_bytes, arguments.memory_bytes))
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    threading.Thread(
        target=die_with, args=(arguments.parent, source.fileno()), daemon=True
    ).start()
    serve(source, sink)


if __name__ == "__main__":
    main()
