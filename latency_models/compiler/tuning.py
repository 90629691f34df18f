"""Tuning: the fastest of a few tiles for each convolution, timed here and kept on disk.

One line of JSON per kernel and processor in ``<cache>/tiles.jsonl``. Lines are only ever appended,
each in one write, so several processes may share the file; a line that cannot be read counts as
absent.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from latency_models.compiler.build import Call, compile_kernels, kernel_module
from latency_models.compiler.lower import SPARE, as_bytes
from latency_models.compiler.memory import Address, aligned
from latency_models.compiler.plan import Tile
from latency_models.devices.cpu import Cpu
from latency_models.devices.folders import cache_folder
from latency_models.kernels.coded.sign_conv import SignConvKernel
from latency_models.kernels.conv2d import Conv2dKernel
from latency_models.kernels.convolution import ConvTile
from latency_models.kernels.depthwise import DepthwiseKernel, DepthwiseTile
from latency_models.kernels.epilogue import (
    CodeStep,
    Epilogue,
    EpilogueValues,
    SignNorm,
    TargetValues,
)
from latency_models.kernels.kernel import TiledKernel
from search_spaces.quantization.codes import weight_limits

NUM_TILES = 8  # candidates of one kernel
ROUNDS = 9  # each candidate's time is its best of these: the round that nobody disturbed
ROUND_S = 1e-3  # how long one candidate runs in one round
BETTER = 0.95  # a tile must take less than this share of the default one's time to replace it


class Tuner:
    """Chooses tiles for one processor, which must be this machine's."""

    def __init__(self, cpu: Cpu, path: Path | None = None) -> None:
        self.cpu = cpu
        self._unit = cpu.vector_unit
        self._path = path or cache_folder() / "tiles.jsonl"
        self._known = read_tiles(self._path)

    def best_tile(self, kernel: TiledKernel[Any]) -> Tile:
        """Returns the fastest of the kernel's candidate tiles; times them if nobody has yet."""
        candidates: tuple[Tile, ...] = kernel.candidate_tiles(self._unit, NUM_TILES)
        key = self._key(kernel)
        if key not in self._known:
            tile = self._fastest(kernel, candidates)
            assert tile is not None
            self._known[key] = asdict(tile)
            append_line(self._path, {"key": key, "kernel": str(kernel), "tile": self._known[key]})
        kind = ConvTile if isinstance(candidates[0], ConvTile) else DepthwiseTile
        try:
            return kind(**self._known[key])  # type: ignore[arg-type]
        except TypeError:
            warnings.warn(f"{self._path} holds a tile that is none; ignored", stacklevel=2)
            del self._known[key]
            return self.best_tile(kernel)

    def _key(self, kernel: TiledKernel[Any]) -> str:
        text = json.dumps([repr(kernel), asdict(self.cpu), tvm.__version__, kernels_version()])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _fastest(self, kernel: TiledKernel[Any], tiles: Sequence[Tile]) -> Tile:
        if len(tiles) == 1:
            return tiles[0]
        times = time_calls(tile_calls(kernel, tiles, self.cpu))
        best = min(range(len(tiles)), key=times.__getitem__)
        return tiles[best] if times[best] < BETTER * times[0] else tiles[0]


def tile_calls(
    kernel: TiledKernel[Any], tiles: Sequence[Tile], cpu: Cpu
) -> list[Callable[[], object]]:
    """Returns a call for each tile that runs the kernel once, all on the same random memory."""
    unit = cpu.vector_unit
    rng = np.random.default_rng(0)
    end = kernel.epilogue
    views = {"source": kernel.source} | dict(
        zip([n for n in end.arguments if n != "constants"], end.views, strict=True)
    )
    numbers = random_weights(kernel, rng)
    weights = max(  # the tile may decide how much is packed
        (as_bytes(kernel.pack(*numbers, unit, tile)) for tile in tiles),
        key=len,
    )
    constants = as_bytes(
        end.pack(ordinary_values(end), kernel.padded_channels(unit), kernel.places(unit))
    )
    at = aligned(weights.size)
    blobs = np.zeros(at + constants.size + SPARE, np.uint8)
    blobs[: weights.size], blobs[at : at + constants.size] = weights, constants
    addresses = {"weights": Address("weights", 0), "constants": Address("weights", at)}
    size = SPARE
    for name, view in views.items():
        origin = view.origin * view.form.element_bytes
        addresses[name] = Address("workspace", size + origin)
        size += aligned(view.bytes) + SPARE
    arguments = tuple(addresses[name] for name in kernel.arguments)
    workspace = random_memory(size, rng)
    one = np.zeros(1, np.float32)
    memories = (one, blobs, workspace, one)
    names = [f"tile_{index}" for index in range(len(tiles))]
    module = kernel_module(
        {name: kernel.function(unit, tile) for name, tile in zip(names, tiles, strict=True)},
        {f"run_{name}": [Call(name, arguments)] for name in names},
        {
            "input": one.shape,
            "weights": blobs.shape,
            "workspace": workspace.shape,
            "output": one.shape,
        },
    )
    compiled = compile_kernels(module, cpu.target)
    tensors = [tvm.runtime.tensor(memory) for memory in memories]

    def call_of(name: str) -> Callable[[], object]:
        function = compiled[f"run_{name}"]
        return lambda: function(*tensors)

    return [call_of(name) for name in names]


def random_memory(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Bytes that are ordinary numbers read as float32, and any codes read as bytes."""
    numbers = rng.normal(size=-(-size // 4)).astype(np.float32)
    return numbers.view(np.uint8)[:size]


def random_weights(
    kernel: TiledKernel[Any], rng: np.random.Generator
) -> tuple[NDArray[np.int8] | NDArray[np.float32], ...]:
    """Weights of the kernel's kind, and biases where it has its own."""
    groups = getattr(kernel, "groups", kernel.source.channels)
    outputs = kernel.target.channels
    shape = (outputs, kernel.source.channels // groups, *kernel.kernel_size)
    if isinstance(kernel, Conv2dKernel | DepthwiseKernel):
        return rng.normal(size=shape).astype(np.float32), np.zeros(outputs, np.float32)
    bits = getattr(kernel, "weight_bits", 1 if isinstance(kernel, SignConvKernel) else 8)
    if bits == 1:
        return (rng.choice(np.array([-1, 1], np.int8), shape),)
    low, high = weight_limits(bits)
    return (rng.integers(low, high + 1, shape, np.int8),)


def ordinary_values(end: Epilogue) -> EpilogueValues:
    """Numbers with which an epilogue neither overflows nor vanishes."""
    ones = np.ones(end.shape[0], np.float32)
    targets: list[TargetValues] = []
    for view in end.targets:
        if view.form.kind == "real":
            targets.append(None)
        elif view.form.bits == 1:
            targets.append(SignNorm(ones, 0 * ones))
        else:
            targets.append(CodeStep.of(0.1))
    return EpilogueValues(tuple(targets), 0.01 * ones, 0 * ones, 0.1)


def time_calls(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Returns the best seconds of each call; the rounds of all calls alternate."""
    for call in calls:
        call()
    once = min(time_call(call, 1) for call in calls)
    number = max(1, int(ROUND_S / max(once, 1e-7)))
    rounds = [[time_call(call, number) for call in calls] for _ in range(ROUNDS)]
    return [float(best) for best in np.min(rounds, axis=0)]


def time_call(call: Callable[[], object], number: int) -> float:
    start = perf_counter()
    for _ in range(number):
        call()
    return (perf_counter() - start) / number


@cache
def kernels_version() -> str:
    """Returns a digest of the kernels' source, so that changed kernels are tuned anew."""
    digest = hashlib.sha256()
    for room in ("codegen", "kernels"):
        for path in sorted(Path(str(files(f"latency_models.{room}"))).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_tiles(path: Path) -> dict[str, dict[str, int]]:
    """Returns the tiles kept in ``path`` by key; lines that cannot be read are left out."""
    try:
        lines = path.read_text(errors="replace", encoding="utf-8").splitlines()
    except OSError:
        return {}
    tiles, damaged = {}, 0
    for line in lines:
        try:
            row = json.loads(line)
            tiles[str(row["key"])] = dict(row["tile"])
        except (ValueError, KeyError, TypeError):
            damaged += 1
    if damaged:
        warnings.warn(
            f"{path}: {damaged} lines cannot be read and are ignored; delete the file to tune "
            "everything anew",
            stacklevel=2,
        )
    return tiles


def append_line(path: Path, row: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(row) + "\n").encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
