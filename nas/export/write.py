"""Shipping: writes the files of a network beside their place, checks them, moves them into it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from latency_models.devices.latency import DeviceBusyError, Latency
from latency_models.measurement.sparse_layers import SparseLayer, with_sparse_layers
from latency_models.onnx.parity import ParityError
from nas.data.splits import Normalization
from nas.data.tensors import place
from nas.export import describe
from nas.export.formats import USUAL_FORMATS, Format, Measurers, Shipment, get_formats
from nas.export.network import TrainedNetwork, network_of_trial, weights_of
from nas.export.tolerance import has_codes
from nas.export.verify import (
    CheckReport,
    FileCheck,
    FileChecker,
    drawn_images,
    followed_by_test,
)
from nas.models.archives.forms import Entropy
from nas.models.swap import folder_beside
from nas.problem.search_problem import Examples, Setting, load_setting
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, fold_batch_norm
from search_spaces.space.space import Architecture

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was shipped.

    Attributes:
        files: SHA-256 of every file in ``folder``, by name.
        sizes: Bytes of every file that holds the network, by name.
        validation_accuracy: Of these weights; None where they were trained on those images.
        checks: What the files were found to do.
        exact: Why a file has its exact, slower form, by name.
        searched_latency: What the search saw.
        latencies: What the files take now, by name.
        not_measured: Files whose time could not be taken, with the reason.
        sparse: Linear layers that keep few weights or values, each as `model.so` has it.
    """

    folder: Path
    files: dict[str, str]
    sizes: dict[str, int]
    validation_accuracy: float | None
    checks: CheckReport
    exact: dict[str, str]
    searched_latency: Latency | None
    latencies: dict[str, Latency]
    not_measured: dict[str, str]
    sparse: tuple[SparseLayer, ...] = ()


def export_network(
    results: RunResults,
    trial: TrialResult,
    to: Path,
    formats: Sequence[str] = USUAL_FORMATS,
    *,
    retrained: bool = False,
    measure: bool = True,
    batch: int | None = None,
    entropy: Entropy = "ans",
    setting: Setting | None = None,
    say: Say = lambda step: None,
) -> ExportReport:
    """Writes ``trial``'s network into the folder ``to``, in each of ``formats``.

    Every file is run in a fresh process on real images, and compared with the network as
    trained, before any of them is kept. An earlier export in ``to`` is replaced.

    Args:
        retrained: Takes the weights of ``nas retrain`` instead of those of the search.
        measure: Whether to time the files on the run's device; without, no layer is sparse.
        batch: Images that the ONNX file takes at once; None takes any number.
        entropy: What codes an archive's symbols: "ans", which is smaller, or "huffman".
        setting: The run's data, where it is loaded already.
        say: Told each step before it begins.

    Raises:
        ParityError: If a file computes something else; nothing is left behind.
        UserError: If a format is unknown, the network was not trained, the data has changed,
            ``to`` holds something else, there is no C compiler, or the disk is full.
    """
    get_formats(formats)
    check_place(to)
    weights_of(results, trial, retrained)  # before the data, which takes longer
    setting = setting or load_setting(results.config)
    network = network_of_trial(results, trial, setting.splits, retrained=retrained)
    examples = setting.examples
    return ship(
        network, to, formats, examples, measure=measure, batch=batch, entropy=entropy, say=say
    )


def ship(
    network: TrainedNetwork,
    to: Path,
    formats: Sequence[str] = USUAL_FORMATS,
    examples: Examples | None = None,
    *,
    measure: bool = True,
    batch: int | None = None,
    entropy: Entropy = "ans",
    say: Say = lambda step: None,
) -> ExportReport:
    """Writes a network as files, each checked; see ``export_network``.

    Args:
        examples: What files are checked on; None takes random images, and tells no accuracy.
    """
    rows = get_formats(formats)
    check_place(to)
    if batch is not None and batch < 1:
        raise UserError(f"the batch of a file must be at least 1 image, got {batch}")
    deployed = fold_batch_norm(network.model)
    with Measurers(network.latency) as measurers, folder_beside(to) as folder:
        shipment = shipment_of(network, deployed, measurers, batch, entropy)
        sparse: tuple[SparseLayer, ...] = ()
        if measure and any(row.runtime == "tvm" for row in rows):
            say("timing sparse layers")
            compiled, sparse = with_sparse_layers(deployed, measurers.open("tvm"))
            shipment = replace(shipment, compiled=compiled)
        for source in (files("nas.export") / "predict.py", files("nas.data") / "picture.py"):
            (folder / source.name).write_text(source.read_text("utf-8"), "utf-8")
        checker = checker_of(network, examples)
        found: dict[str, FileCheck] = {}
        exact: dict[str, str] = {}
        for row in rows:
            try:
                found[row.file] = write_checked(row, shipment, folder, network, checker, say)
            except ParityError as error:
                if not (row.rounds_biases and has_codes(deployed.graph)):
                    raise
                say(f"writing {row.file} again, in its exact form")
                exact[row.file] = str(error).removesuffix("; the file was not kept")
                slow, plain = replace(shipment, exact=True), replace(row, rounds_biases=False)
                found[row.file] = write_checked(plain, slow, folder, network, checker, say)
        checks = checker.report(found)
        measured: dict[str, Latency] = {}
        missed: dict[str, str] = {}
        if measure:
            say("measuring latency")
            measured, missed = file_latencies(folder, rows, deployed.graph, measurers, batch)
        (folder / "metadata.json").unlink()
        splits = None if examples is None else examples.splits
        facts = describe.Facts(network, deployed, splits, rows, checks, exact, sparse)
        text = describe.readme(facts, measured, folder)
        (folder / "README.md").write_text(text, "utf-8")
        known = describe.metadata(facts, measured, missed, folder, processor_of(rows, measurers))
        write_json(folder / "metadata.json", known)
        return ExportReport(
            to,
            describe.sha256s(folder),
            {row.file: (folder / row.file).stat().st_size for row in rows},
            network.weights["validation_accuracy"],
            checks,
            exact,
            network.searched,
            measured,
            missed,
            sparse,
        )


def write_checked(
    row: Format,
    shipment: Shipment,
    folder: Path,
    network: TrainedNetwork,
    checker: FileChecker,
    say: Say,
) -> FileCheck:
    """Writes a file and returns what it was found to do.

    Raises: as ``FileChecker.check``.
    """
    say(f"writing {row.file}")
    row.write(shipment, folder)
    # What predict.py reads; all else, with what the checks find out, is written at the end.
    known = {
        "input": shipment.input,
        "class_names": network.class_names,
        "processor": processor_of([row], shipment.measurers),
        "files": describe.sha256s(folder),
    }
    write_json(folder / "metadata.json", known)
    say(f"checking {row.file} in a fresh process")
    return checker.check(folder, row)


def processor_of(rows: Sequence[Format], measurers: Measurers) -> dict[str, Any] | None:
    """Returns what the processor must be that a compiled file runs on; None for other files."""
    if all(row.runtime != "tvm" for row in rows):
        return None
    worker = measurers.open("tvm").worker
    return {"mcpu": worker.target, "features": list(worker.instruction_sets)}


def checker_of(network: TrainedNetwork, examples: Examples | None) -> FileChecker:
    """Returns what holds files against the network, on images of its data or on random ones."""
    if examples is not None:
        return FileChecker(network.model, *followed_by_test(place(examples.splits, "cpu")))
    shape = network.model.graph.input_shape
    known = network.input.normalization or Normalization((0.5,) * shape[0], (0.25,) * shape[0])
    images = drawn_images(shape, known)
    return FileChecker(network.model, images, len(images))


def shipment_of(
    network: TrainedNetwork,
    deployed: Model,
    measurers: Measurers,
    batch: int | None,
    entropy: Entropy,
) -> Shipment:
    given = describe.input_metadata(network)
    properties = {
        "hwnas.hash": network.hash,
        "hwnas.class_names": json.dumps(network.class_names),
        "hwnas.input": json.dumps(given),
    }
    searched = network.architecture
    return Shipment(
        network.run or network.name,
        network.stored,
        Architecture(searched.space, searched.genes, deployed.graph),
        deployed,
        given,
        properties,
        measurers,
        batch,
        entropy=entropy,
    )


def file_latencies(
    folder: Path,
    formats: Sequence[Format],
    graph: Graph,
    measurers: Measurers,
    batch: int | None,
) -> tuple[dict[str, Latency], dict[str, str]]:
    """Returns the latency of each file that a runtime times, and why a file has none.

    A machine that is too busy to be timed takes nothing away from files that are right.
    """
    found, missed = {}, {}
    for row in formats:
        if row.runtime is None:
            continue
        if row.takes_batch and batch not in (None, 1):
            missed[row.file] = f"it takes {batch} images at once, a latency is that of one"
            continue
        try:
            found[row.file] = measurers.open(row.runtime).file_latency(folder / row.file, graph)
        except DeviceBusyError as error:
            missed[row.file] = str(error)
    return found, missed


def check_place(to: Path) -> None:
    """Raises:
    UserError: If ``to`` is there and no earlier export.
    """
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    try:
        data = json.loads((to / "metadata.json").read_text("utf-8"))
        if data["format"] == describe.FORMAT:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{to} is there and is no export of hwnas; choose another folder with --to")


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
