"""Runs code compiled for 64-bit ARM on this machine, by emulating it.

The entry function of a compiled module is linked to a main program without any library, which
calls it as TVM's runtime does; the emulator has exactly the instructions of the processor that the
code is for.
"""

import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm_ffi.libinfo
from numpy.typing import NDArray

from latency_models.devices.cpu import Cpu
from tests.waiting import PATIENCE_S

Array = NDArray[Any]
ENTRY = "run"  # the only name that the main program calls
EMULATOR, COMPILER, LINKER = "qemu-aarch64", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld"
MAIN = Path(__file__).with_name("aarch64_main.c")
CODES = {"f": 2, "u": 1, "i": 0}  # DLPack's names of types, by numpy's

MISSING = [tool for tool in (EMULATOR, COMPILER, LINKER) if shutil.which(tool) is None]
needs_emulator = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{', '.join(MISSING)} not found; install qemu-user and gcc-aarch64-linux-gnu",
)


def run(compiled: Any, cpu: Cpu, memories: Sequence[Array]) -> tuple[Array, Array]:  # noqa: ANN401
    """Returns the workspace and the output after ``run`` of a compiled module.

    Args:
        compiled: What ``compile_kernels`` returned for ``cpu``.
        memories: What the four memories hold before, in the order of ``MEMORIES``.

    Raises:
        AssertionError: If the code needs a library, an instruction that ``cpu`` does not have, or
            memory that it was not given.
    """
    with tempfile.TemporaryDirectory() as folder:
        program, main, code = (Path(folder, name) for name in ("program", "main.o", "code.o"))
        main.write_bytes(main_object())
        compiled.write_to_file(str(code), "o")
        checked([LINKER, str(main), str(code), "-o", str(program)])
        given = b"".join(map(as_argument, memories))
        result = checked([EMULATOR, "-cpu", cpu.mcpu, str(program)], given)
    workspace, output = memories[2:]
    made = np.frombuffer(result, np.uint8)
    assert made.size == workspace.nbytes + output.nbytes
    return (
        made[: workspace.nbytes].view(workspace.dtype).reshape(workspace.shape),
        made[workspace.nbytes :].view(output.dtype).reshape(output.shape),
    )


def as_argument(memory: Array) -> bytes:
    """A memory as the main program reads it."""
    kind = CODES[memory.dtype.kind]
    shape = (*memory.shape, *(0,) * (4 - memory.ndim))
    header = (kind, 8 * memory.itemsize, memory.ndim, memory.nbytes, *shape)
    return struct.pack("<8q", *header) + memory.tobytes()


@cache
def main_object() -> bytes:
    """The main program, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "main.o")
        include = f"-I{tvm_ffi.libinfo.find_include_path()}"
        checked([COMPILER, "-O1", "-ffreestanding", "-c", include, str(MAIN), "-o", str(made)])
        return made.read_bytes()


def checked(command: Sequence[str], given: bytes = b"") -> bytes:
    """Returns what a program writes; asserts that it ends well."""
    done = subprocess.run(
        command, input=given, capture_output=True, timeout=PATIENCE_S, check=False
    )
    end = signal.Signals(-done.returncode).name if done.returncode < 0 else done.returncode
    assert done.returncode == 0, (
        f"{Path(command[0]).name} ended with {end}: {message(done.stderr)}"
    )
    return done.stdout


def message(text: bytes) -> str:
    return os.linesep.join(text.decode(errors="replace").strip().splitlines()[-5:])
