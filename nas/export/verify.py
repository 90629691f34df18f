"""Checking: each exported file, loaded in a fresh process, against the network as trained.

The process runs the folder's own ``predict.py``, so what is checked is what a user will do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from latency_models.onnx.parity import (
    FEW,
    LIMIT,
    SLACK,
    Bounds,
    ParityError,
    ParityReport,
    changed_answers,
    check_parity,
)
from nas.data.splits import Normalization
from nas.data.tensors import TensorSplit, TensorSplits
from nas.export.formats import Format
from nas.export.tolerance import RUNS, has_codes, nudged_bounds, nudged_logits
from nas.training.accuracy import logits
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Shape

PARITY_IMAGES = 256
RANDOM_IMAGES, PATCHES = 32, 4  # patches of a side
CHUNK_BYTES = 2**28  # of network inputs that one process is given
TIME_LIMIT_S = 3600


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What one file was found to do.

    Attributes:
        difference: The largest, as a share of the largest output.
        limit: What it might have been.
        correct: Test images that it gets right.
    """

    difference: float
    limit: float
    correct: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the files were found to do.

    Attributes:
        parity: On validation images, or on random ones where no images were given.
        test_correct: Test images that the network as trained gets right.
        num_test: 0 where no images were given.
        file_correct: Test images that each file gets right; the same for real networks.
    """

    parity: ParityReport
    test_correct: int
    num_test: int
    file_correct: Mapping[str, int]

    @property
    def is_tested(self) -> bool:
        """Whether there were images to test with."""
        return self.num_test > 0

    @property
    def test_accuracy(self) -> float:
        """Of the network as trained; there must have been images to test with."""
        assert self.is_tested
        return self.test_correct / self.num_test


class FileChecker:
    """What files are compared with: the network as trained, on images.

    Args:
        model: The network as trained.
        images: On the CPU, where float32 means float32.
        count: How many of them are compared output by output; the others are test images.
    """

    def __init__(self, model: Model, images: TensorSplit, count: int) -> None:
        self.model = model
        self.images = images
        self.count = count
        self.trained = logits(model, self.images).numpy()
        self.labels = self.images.labels.numpy()
        self._bounds: dict[bool, Bounds] = {}

    @property
    def num_test(self) -> int:
        return len(self.labels) - self.count

    def check(self, folder: Path, row: Format) -> FileCheck:
        """Runs a file of ``folder`` and returns what it was found to do.

        Raises:
            ParityError: If its outputs differ by more than they may, or more test images come out
                right or wrong than may change; see ``latency_models.onnx.parity``.
            UserError: If it does not run.
        """
        outputs = run_file(folder, row, self.images, self.model)
        count, name = self.count, row.file
        bounds = {name: self.bounds(row.rounds_biases)} if has_codes(self.model.graph) else {}
        parity = check_parity(self.trained[:count], {name: outputs[:count]}, bounds)
        labels = self.labels[count:]
        right = self.right(outputs)
        allowed = self.allowed(right, row.rounds_biases)
        check_labels(name, outputs[count:], self.trained[count:], labels, allowed)
        return FileCheck(parity.differences[name], parity.limit, right)

    def bounds(self, rounds_biases: bool) -> Bounds:
        """Returns what a file of a network with codes may differ by."""
        if rounds_biases not in self._bounds:
            compared, trained = self.images.take(slice(self.count)), self.trained[: self.count]
            self._bounds[rounds_biases] = nudged_bounds(
                self.model, compared, trained, rounds_biases
            )
        return self._bounds[rounds_biases]

    def allowed(self, right: int, rounds_biases: bool) -> int:
        """Returns by how many right answers a file that gets ``right`` may part.

        Where a file that rounds nothing parts by more, as much as answers change in the network
        itself where a few of its codes are moved.
        """
        codes = has_codes(self.model.graph)
        usual, trained = changed_answers(self.num_test, codes), self.right(self.trained)
        if not codes or rounds_biases or abs(right - trained) <= usual:
            return usual
        runs = (nudged_logits(self.model, self.images, FEW, 0.0, seed) for seed in range(RUNS))
        return max(usual, *(SLACK * abs(self.right(outputs) - trained) for outputs in runs))

    def right(self, outputs: Array) -> int:
        """Returns how many test images outputs for all images get right."""
        return int(correct(outputs[self.count :], self.labels[self.count :]).sum())

    def report(self, found: Mapping[str, FileCheck]) -> CheckReport:
        """Returns what all files were found to do, by name."""
        differences = {name: one.difference for name, one in found.items()}
        limit = max((one.limit for one in found.values()), default=LIMIT)
        return CheckReport(
            ParityReport(differences, limit, self.count),
            self.right(self.trained),
            self.num_test,
            {name: one.correct for name, one in found.items()},
        )


def followed_by_test(tensors: TensorSplits) -> tuple[TensorSplit, int]:
    """Returns the first validation images, then all test images, and how many the first are."""
    validation, test = tensors.validation, tensors.test
    count = min(PARITY_IMAGES, len(validation))
    return replace(
        test,
        pixels=torch.cat((validation.pixels[validation.rows[:count]], test.pixels[test.rows])),
        rows=torch.arange(count + len(test)),
        labels=torch.cat((validation.labels[:count], test.labels)),
    ), count


def drawn_images(shape: Shape, normalization: Normalization) -> TensorSplit:
    """Returns random images of a network's input, of these statistics: patches with noise on them.

    Args:
        shape: ``(C, H, W)`` of the network's input.
    """
    channels, height, width = shape
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(RANDOM_IMAGES, channels, PATCHES, PATCHES))
    rows, columns = (np.arange(side) * PATCHES // side for side in (height, width))
    patches = coarse[:, :, rows][..., columns]
    noise = rng.normal(size=patches.shape)
    values = (patches + noise) / np.sqrt(2)
    mean, std = (np.array(each)[:, None, None] for each in astuple(normalization))
    pixels = np.clip(np.round(255 * (mean + std * values)), 0, 255).astype(np.uint8)
    shift, scale = (torch.tensor(each, dtype=torch.float32) * 255 for each in (mean, std))
    return TensorSplit(
        "random images",
        torch.from_numpy(pixels.transpose(0, 2, 3, 1).copy()),
        torch.arange(RANDOM_IMAGES),
        torch.zeros(RANDOM_IMAGES, dtype=torch.int64),
        shift,
        1 / scale,
        1,
    )


def correct(outputs: Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns for each image whether its largest output is its class."""
    hits: NDArray[np.bool_] = outputs.argmax(1) == labels
    return hits


def check_labels(
    name: str, outputs: Array, trained: Array, labels: NDArray[np.int64], allowed: int = 0
) -> None:
    """Raises:
    ParityError: If ``outputs`` get more or fewer images right than ``trained``, by more than
        ``allowed``.
    """
    ours, theirs = correct(trained, labels), correct(outputs, labels)
    if abs(int(ours.sum()) - int(theirs.sum())) <= allowed:
        return
    row = int(np.flatnonzero(ours != theirs)[0])
    second, best = np.sort(trained[row])[-2:]
    raise ParityError(
        f"{name} gets {theirs.sum()} of {len(labels)} test images right, the network as trained "
        f"{ours.sum()}; they part at image {row}, whose two largest outputs are "
        f"{best - second:.1e} apart; the file was not kept"
    )


def run_file(folder: Path, row: Format, split: TensorSplit, model: Model) -> Array:
    """Returns the outputs of a file for every image of a split, each chunk in a fresh process."""
    parts = [run_predict(folder, row, inputs) for inputs in chunks(split, model)]
    return np.concatenate(parts)


def chunks(split: TensorSplit, model: Model) -> Iterator[Array]:
    shape = model.graph.input_shape
    size = max(1, CHUNK_BYTES // (4 * int(np.prod(shape))))
    for inputs, _ in split.batches(shape, size):
        yield inputs.contiguous().numpy()


def run_predict(folder: Path, row: Format, inputs: Array) -> Array:
    """Runs ``predict.py`` of the folder on ``inputs`` and returns its outputs."""
    with TemporaryDirectory() as scratch:
        given, made = Path(scratch, "inputs.npy"), Path(scratch, "logits.npy")
        np.save(given, inputs)
        command = [sys.executable, str((folder / "predict.py").resolve()), "--runtime", row.name]
        try:
            done = subprocess.run(
                [*command, str(given), "--logits", str(made)],
                cwd=scratch,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{row.file} did not finish {len(inputs)} images within {TIME_LIMIT_S} s; the "
                "file was not kept"
            ) from None
        if done.returncode or not made.exists():
            lines = done.stderr.strip().splitlines()
            why = lines[-1] if lines else f"exit status {done.returncode}"
            raise UserError(f"{row.file} does not run in a fresh process: {why}")
        outputs: Array = np.load(made)
    return outputs


def environment() -> dict[str, str]:
    """The packages must be found from any folder, also where they are not installed."""
    paths = [str(Path(path).resolve()) for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
