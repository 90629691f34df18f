"""Shipping: writes the files of a network beside their place, checks them, moves them into it."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from latency_models.devices.latency import DeviceBusyError, Latency
from nas.data.tensors import place
from nas.export import describe
from nas.export.formats import FORMATS, Format, Measurers, Shipment, get_formats
from nas.export.retrain import load_retrained
from nas.export.verify import CheckReport, check_files
from nas.problem.search_problem import Setting, load_setting
from nas.runs.files import DiskFullError
from nas.runs.summary import check_same_data
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
        validation_accuracy: Of these weights; None where they were trained on those images.
        checks: What the files were found to do.
        searched_latency: What the search saw.
        latencies: What the files take now, by name.
        not_measured: Files whose time could not be taken, with the reason.
    """

    folder: Path
    files: dict[str, str]
    validation_accuracy: float | None
    checks: CheckReport
    searched_latency: Latency | None
    latencies: dict[str, Latency]
    not_measured: dict[str, str]


def export_network(
    results: RunResults,
    trial: TrialResult,
    to: Path,
    formats: Sequence[str] = tuple(FORMATS),
    *,
    retrained: bool = False,
    measure: bool = True,
    setting: Setting | None = None,
    say: Say = lambda step: None,
) -> ExportReport:
    """Writes ``trial``'s network into the folder ``to``, in each of ``formats``.

    Every file is run in a fresh process on real images, and compared with the network as
    trained, before any of them is kept. An earlier export in ``to`` is replaced.

    Args:
        retrained: Takes the weights of ``nas retrain`` instead of those of the search.
        measure: Whether to time the files on the run's device.
        setting: The run's data, where it is loaded already.
        say: Told each step before it begins.

    Raises:
        ParityError: If a file computes something else; nothing is left behind.
        UserError: If a format is unknown, the network was not trained, the data has changed,
            ``to`` holds something else, there is no C compiler, or the disk is full.
    """
    rows = get_formats(formats)
    check_place(to)
    model, weights = weights_of(results, trial, retrained)
    setting = setting or load_setting(results.config)
    check_same_data(results.run.data_file, setting.splits)
    deployed = fold_batch_norm(model)
    with Measurers(results.config.latency) as measurers, folder_beside(to) as folder:
        shipment = shipment_of(results, trial, deployed, setting, measurers)
        for row in rows:
            say(f"writing {row.file}")
            row.write(shipment, folder)
        # What predict.py reads; all else, with what the checks find out, is written below.
        given = describe.input_metadata(deployed, setting.splits, results.config.data.settings)
        names = {"input": given, "class_names": setting.splits.train.class_names}
        write_json(folder / "metadata.json", names)
        for source in (files("nas.export") / "predict.py", files("nas.data") / "picture.py"):
            (folder / source.name).write_text(source.read_text("utf-8"), "utf-8")
        say("checking every file in a fresh process")
        checks = check_files(folder, rows, model, place(setting.splits, "cpu"))
        measured: dict[str, Latency] = {}
        missed: dict[str, str] = {}
        if measure:
            say("measuring latency")
            measured, missed = file_latencies(folder, rows, deployed.graph, measurers)
        text = describe.readme(results, trial, deployed, setting.splits, rows, checks, measured)
        (folder / "README.md").write_text(text)
        (folder / "metadata.json").unlink()
        known = describe.metadata(
            results,
            trial,
            deployed,
            setting.splits,
            weights=weights,
            checks=checks,
            measured=measured,
            missed=missed,
            files=describe.sha256s(folder),
        )
        write_json(folder / "metadata.json", known)
        found = ExportReport(
            to,
            describe.sha256s(folder),
            weights["validation_accuracy"],
            checks,
            trial.evaluation.latency,
            measured,
            missed,
        )
    return found


def weights_of(
    results: RunResults, trial: TrialResult, retrained: bool
) -> tuple[Model, dict[str, Any]]:
    """Returns the trained model, and where its weights come from."""
    if retrained:
        model, found = load_retrained(results.run, trial.hash)
        return model, {
            "from": "retraining",
            "epochs": found.epochs,
            "validation_accuracy": found.validation_accuracy,
        }
    return results.run.load_model(trial.hash), {
        "from": "the search",
        "epochs": trial.evaluation.epochs,
        "validation_accuracy": trial.evaluation.values.get("accuracy"),
    }


def shipment_of(
    results: RunResults,
    trial: TrialResult,
    deployed: Model,
    setting: Setting,
    measurers: Measurers,
) -> Shipment:
    given = describe.input_metadata(deployed, setting.splits, results.config.data.settings)
    properties = {
        "hwnas.hash": trial.hash,
        "hwnas.class_names": json.dumps(setting.splits.train.class_names),
        "hwnas.input": json.dumps(given),
    }
    searched = results.run.load_architecture(trial.hash)
    return Shipment(
        results.config.name,
        Architecture(searched.space, searched.genes, deployed.graph),
        deployed,
        properties,
        measurers,
    )


def file_latencies(
    folder: Path, formats: Sequence[Format], graph: Graph, measurers: Measurers
) -> tuple[dict[str, Latency], dict[str, str]]:
    """Returns the latency of each file that a runtime times, and why a file has none.

    A machine that is too busy to be timed takes nothing away from files that are right.
    """
    found, missed = {}, {}
    for row in formats:
        if row.runtime is None:
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
        data = json.loads((to / "metadata.json").read_text())
        if data["format"] == describe.FORMAT:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{to} is there and is no export of hwnas; choose another folder with --to")


@contextmanager
def folder_beside(to: Path) -> Iterator[Path]:
    """Gives a new folder beside ``to`` that takes its place at the end, or is removed."""
    to = to.resolve()
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        replace_folder(part, to)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"the disk is full: cannot write {to}; free some space and export again"
            ) from None
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_folder(new: Path, place: Path) -> None:
    """Moves ``new`` to ``place``; what was there is removed once the new one stands."""
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n")
