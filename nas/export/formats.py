"""Formats: the files that a network can be shipped as; a new one is a row in ``FORMATS``.

A row also needs a way to load its file in ``examples/predict.py``, which users copy from and by
which every file is checked.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latency_models.devices.device import Runtime, get_device
from latency_models.measurement.measurer import Measurer
from nas.models.archives.archive import write_archive
from nas.models.archives.forms import Entropy
from nas.models.folder import StoredModel
from nas.problem.records import LatencyConfig
from nas.runs.files import arrays_bytes
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.quantization.storage import stored
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture

COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")  # in the order in which TVM looks


@dataclass(frozen=True, slots=True)
class Shipment:
    """A network on its way out.

    Attributes:
        name: Of the run or model.
        trained: The network as trained, for a format that keeps it as it is: what shares values
            shares none once norms are folded into it.
        architecture: As deployed: batch norms folded.
        model: Its arrays.
        input: How an image becomes its input.
        properties: What files that can carry text should say about it.
        measurers: What compiles and times as is asked.
        batch: Images that a file takes at once; None leaves it open where a format can.
        exact: Whether nothing is rounded for speed, where a format does so.
        compiled: The model as TVM compiles it, with sparse layers; None compiles ``model``.
        entropy: What codes an archive's symbols.
    """

    name: str
    trained: StoredModel
    architecture: Architecture
    model: Model
    input: Mapping[str, Any]
    properties: Mapping[str, str]
    measurers: "Measurers"
    batch: int | None = None
    exact: bool = False
    compiled: Model | None = None
    entropy: Entropy = "ans"


@dataclass(frozen=True, slots=True)
class Format:
    """One way to ship a network.

    Attributes:
        file: The file that holds the network.
        runtime: What times it on the device; None where the format is for training.
        install: What it takes to run it.
        about: What it is good for, in a line.
        rounds_biases: Whether convolutions of 8 bits have integer biases there, unless it is to
            be exact.
        takes_batch: Whether it can be made for a fixed batch.
    """

    name: str
    file: str
    runtime: Runtime | None
    install: str
    about: str
    write: Callable[[Shipment, Path], None]
    rounds_biases: bool = False
    takes_batch: bool = False


def write_onnx(shipment: Shipment, folder: Path) -> None:
    from latency_models.onnx.model import onnx_model

    proto = onnx_model(
        shipment.model,
        name=shipment.name,
        metadata=shipment.properties,
        exact=shipment.exact,
        batch=shipment.batch,
    )
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


def write_tvm(shipment: Shipment, folder: Path) -> None:
    """Raises UserError where there is no C compiler to link the library."""
    check_compiler()
    compiled = shipment.compiled or shipment.model
    shipment.measurers.open("tvm").export(compiled, folder / "model.so")


def write_torch(shipment: Shipment, folder: Path) -> None:
    content = arrays_bytes(stored(shipment.model), shipment.properties)
    (folder / "model.safetensors").write_bytes(content)
    save_architecture(shipment.architecture, folder / "architecture.json")


def write_hwz(shipment: Shipment, folder: Path) -> None:
    write_archive(folder / "model.hwz", shipment.trained, shipment.entropy)


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "onnx",
            "model.onnx",
            "onnxruntime",
            "pip install numpy pillow onnxruntime",
            "for ONNX Runtime and other readers of ONNX",
            write_onnx,
            rounds_biases=True,
            takes_batch=True,
        ),
        Format(
            "tvm",
            "model.so",
            "tvm",
            "pip install numpy pillow apache-tvm==0.27.* apache-tvm-ffi==0.1.14.post1",
            "compiled for one processor, the fastest there; one image at a time",
            write_tvm,
        ),
        Format(
            "torch",
            "model.safetensors",
            None,
            "pip install pillow HWNAS  # HWNAS: the folder of its sources, or a wheel of it",
            "arrays to train on with; architecture.json is their graph",
            write_torch,
        ),
        Format(
            "archive",
            "model.hwz",
            None,
            "pip install pillow HWNAS  # HWNAS: the folder of its sources, or a wheel of it",
            "the smallest: graph and coded weights in one file, every weight bit for bit",
            write_hwz,
        ),
    )
}

USUAL_FORMATS = ("onnx", "tvm", "torch")  # what is written where nobody says which


def get_formats(names: Sequence[str]) -> tuple[Format, ...]:
    """Returns the formats called ``names``, each once.

    Raises:
        UserError: If one is unknown, or there are none; the message lists the known ones.
    """
    known = ", ".join(FORMATS)
    if not names:
        raise UserError(f"an export needs at least one format; known formats: {known}")
    for name in names:
        if name not in FORMATS:
            raise UserError(f"unknown format {name!r}; known formats: {known}")
    return tuple(FORMATS[name] for name in dict.fromkeys(names))


class Measurers:
    """One measurer a runtime, opened when it is first needed: TVM takes seconds to start.

    Use it as a context manager: leaving it ends their processes.
    """

    def __init__(self, config: LatencyConfig) -> None:
        self._config = config
        self._open: dict[Runtime, Measurer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for measurer in self._open.values():
            measurer.close()

    def open(self, runtime: Runtime) -> Measurer:
        """Returns a measurer that compiles and times as the run does, in ``runtime``."""
        if runtime not in self._open:
            self._open[runtime] = Measurer(
                get_device(self._config.device, self._config.max_drift),
                runtime,
                tuned=self._config.tuned and runtime == "tvm",
                time_limit_s=self._config.time_limit_s,
            )
        return self._open[runtime]


def check_compiler(environment: Mapping[str, str] = os.environ) -> None:
    """Raises:
    UserError: If there is no C compiler, which TVM links a library with.
    """
    given = environment.get("CXX") or environment.get("CC")
    wanted = (given.split()[0],) if given else COMPILERS
    path = environment.get("PATH", os.defpath)
    if not any(shutil.which(name, path=path) for name in wanted):
        raise UserError(
            f"a .so file is linked by a C compiler, found none ({', '.join(wanted)}); install one "
            "(apt-get install gcc g++), or leave 'tvm' out of the formats"
        )
