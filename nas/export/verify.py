"""Checking: each exported file, loaded in a fresh process, against the network as trained.

The process runs the folder's own ``predict.py``, so what is checked is what a user will do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from latency_models.onnx.parity import (
    Bounds,
    ParityError,
    ParityReport,
    changed_answers,
    check_parity,
)
from nas.data.tensors import TensorSplit, TensorSplits
from nas.export.formats import Format
from nas.export.tolerance import has_codes, nudged_bounds
from nas.training.accuracy import logits
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array, Model

PARITY_IMAGES = 256
CHUNK_BYTES = 2**28  # of network inputs that one process is given
TIME_LIMIT_S = 3600


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the files were found to do.

    Attributes:
        parity: On validation images.
        test_correct: Test images that the network as trained gets right.
        file_correct: Test images that each file gets right; the same for real networks.
    """

    parity: ParityReport
    test_correct: int
    num_test: int
    file_correct: Mapping[str, int]

    @property
    def test_accuracy(self) -> float:
        return self.test_correct / self.num_test


def check_files(
    folder: Path, formats: Sequence[Format], model: Model, tensors: TensorSplits
) -> CheckReport:
    """Compares the files in ``folder`` with ``model``, the network as trained.

    Args:
        tensors: The splits on the CPU, where float32 means float32.

    Raises:
        ParityError: If a file's outputs differ by more than they may, or more test images come
            out right or wrong than may change; see ``latency_models.onnx.parity``.
        UserError: If a file does not run.
    """
    both, count = followed_by_test(tensors)
    trained, labels = logits(model, both).numpy(), both.labels.numpy()
    outputs = {row.file: run_file(folder, row, both, model) for row in formats}
    validation = {name: found[:count] for name, found in outputs.items()}
    compared = both.take(slice(count))
    bounds = file_bounds(formats, model, compared, trained[:count])
    parity = check_parity(trained[:count], validation, bounds)
    allowed = changed_answers(len(labels) - count, has_codes(model.graph))
    for name, found in outputs.items():
        check_labels(name, found[count:], trained[count:], labels[count:], allowed)
    right = {
        name: int(correct(found[count:], labels[count:]).sum())
        for name, found in {"": trained, **outputs}.items()
    }
    return CheckReport(parity, right.pop(""), len(labels) - count, right)


def file_bounds(
    formats: Sequence[Format], model: Model, split: TensorSplit, trained: Array
) -> dict[str, Bounds]:
    """Returns what each file of a network with codes may differ by; {} for a real one."""
    if not has_codes(model.graph):
        return {}
    sorts = {row.rounds_biases for row in formats}
    bounds = {sort: nudged_bounds(model, split, trained, sort) for sort in sorts}
    return {row.file: bounds[row.rounds_biases] for row in formats}


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
