"""Compiled files: what a ``.so`` says about itself, and whether this machine can run it.

Its architecture is read before it is loaded; the rest is in its record. Nothing in it runs before
both are found to suit this machine, and its bytes to be those that were written: behind what a
loader reads stands a seal, the SHA-256 of all before it. Files of version 0.1.0 have none.
"""

import json
import shutil
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tvm
from tvm.support import cc

from latency_models.devices.cpu import Cpu, host_cpu, host_features
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.operators import Shape
from search_spaces.graphs.schema import parse_json, read_as, shown

FORMAT = 2  # raised when files of older versions can no longer be read
# The header that every Linux library begins with, and LLVM's names of the architectures in it.
MAGIC, WIDE = b"\x7fELF", 2
HEADER = struct.Struct("<4xB13xH20xQ10xHH")  # width, architecture, sections: start, size, count
SEAL = struct.Struct("12s32s")
SEAL_MARK = b"hwnas.sha256"
ARCHITECTURES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a compiled file says about itself.

    Attributes:
        mcpu: LLVM's name of the processor that it was compiled for.
        platform: LLVM's name of the platform.
        features: Instruction sets that the code needs.
    """

    format: int
    input_shape: Shape
    output_shape: Shape
    mcpu: str
    platform: str
    features: tuple[str, ...]
    hwnas_version: str
    tvm_version: str

    @classmethod
    def of(cls, input_shape: Shape, output_shape: Shape, cpu: Cpu) -> "Metadata":
        return cls(
            FORMAT,
            input_shape,
            output_shape,
            cpu.mcpu,
            cpu.platform,
            tuple(sorted(cpu.features)),
            version("hwnas"),
            tvm.__version__,
        )

    @property
    def cpu(self) -> Cpu:
        """The processor that it was compiled for."""
        own = self.platform == host_cpu().platform
        return Cpu(self.mcpu, "" if own else self.platform)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def parse_metadata(path: Path, text: str) -> Metadata:
    """Returns the record of the file at ``path``.

    Raises:
        UserError: If it is of a format that this hwnas does not read, or no such record.
    """
    try:
        row = read_as(Mapping[str, Any], parse_json(text), "the record")
        check_format(path, row)
        metadata: Metadata = read_as(Metadata, row)
        if min(*metadata.input_shape, *metadata.output_shape) < 1:
            raise UserError(f"shapes must be positive, got {shown(metadata.input_shape)}")
    except OtherFormatError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path} is damaged (what it says of itself: {error}); export the network again"
        ) from None
    return metadata


class OtherFormatError(UserError):
    """A file that another version of hwnas wrote."""


def check_format(path: Path, row: Mapping[str, Any]) -> None:
    format = read_as(int, row.get("format"), "format")
    writer = read_as(str, row.get("hwnas_version"), "hwnas_version")
    if format > FORMAT:
        raise OtherFormatError(
            f"{path} has format {format}, this hwnas reads {FORMAT}; install hwnas {writer} or "
            "newer"
        )
    if format < FORMAT:
        raise OtherFormatError(
            f"{path} has format {format} of hwnas {writer}, this hwnas reads {FORMAT}; export "
            "the network again"
        )


def check_library(path: Path) -> None:
    """Raises UserError if the library at ``path`` is not whole, or for other processors.

    Loading such a file would end this process, or fail with a message about something else.
    """
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        return  # no Linux library: what loads it says so
    width, machine, start, size, count = HEADER.unpack(head)
    architecture = ARCHITECTURES.get(machine, f"unknown ({machine})")
    own = host_cpu().architecture
    if architecture != own or width != WIDE:
        raise UserError(
            f"{path} was compiled for {architecture} processors and this machine's is {own}; run "
            "it on such a machine, or export the network again on this one"
        )
    check_whole(path, start + size * count)


def check_whole(path: Path, whole: int) -> None:
    """Raises UserError if a library is not what was written.

    Args:
        whole: Its bytes without the seal, as its header tells.
    """
    content = path.read_bytes()
    if len(content) < whole:
        raise UserError(
            f"{path} is cut off: it has {len(content)} bytes of {whole}; copy it again"
        )
    if content == sealed(content[: -SEAL.size]):
        return
    if len(content) != whole or SEAL_MARK in content[-2 * SEAL.size :]:
        raise UserError(f"{path} is damaged: it is not what was exported; copy it again")


def sealed(content: bytes) -> bytes:
    """Returns a library with the seal behind it."""
    return content + SEAL.pack(SEAL_MARK, sha256(content).digest())


def check_runs_here(what: str, cpu: Cpu, features: Iterable[str]) -> None:
    """Raises UserError if this machine lacks what code for ``cpu`` needs.

    Args:
        what: The code, as the subject of a sentence.
        features: Instruction sets that it needs.
    """
    host, name = host_cpu(), cpu.mcpu or "generic"
    if cpu.architecture != host.architecture:
        raise UserError(
            f"{what} is for {name!r} ({cpu.platform}) and this machine is {host.mcpu!r} "
            f"({host.platform}); save it and run the file there, or compile it for this machine"
        )
    missing = sorted(set(features) - host_features())
    if missing:
        raise UserError(
            f"{what} is for {name!r} and needs {', '.join(missing)}, which this processor does "
            "not have; run it on such a machine, or export the network again on this one"
        )


def export_library(library: Any, path: Path, cpu: Cpu) -> None:  # noqa: ANN401  tvm is untyped
    """Writes a compiled library for ``cpu`` as a ``.so`` file; needs the platform's C compiler.

    Raises:
        UserError: If it cannot be written.
    """
    part = path.with_name(f".{path.stem}.part.so")
    options = linker_options(cpu)
    try:
        library.export_library(str(part), **options)
        part.write_bytes(sealed(part.read_bytes()))
        part.replace(path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {one_line(error)}") from None


def library_bytes(library: Any, cpu: Cpu) -> bytes:  # noqa: ANN401
    """Returns what `export_library` writes.

    Raises: as `export_library`.
    """
    with TemporaryDirectory(prefix="hwnas-") as folder:
        path = Path(folder) / "library.so"
        export_library(library, path, cpu)
        return path.read_bytes()


def linker_options(cpu: Cpu) -> dict[str, Any]:
    """Returns what exporting a library takes beside its path.

    Raises:
        UserError: If it is for another platform whose linker is not installed.
    """
    if cpu.architecture == host_cpu().architecture:
        return {}
    linker = f"{cpu.platform}-gcc"
    if shutil.which(linker) is None:
        raise UserError(
            f"code for {cpu.platform} is linked by {linker}, which is not installed; "
            f"install the package gcc-{cpu.platform}"
        )
    return {"fcompile": cc.cross_compiler(linker)}
