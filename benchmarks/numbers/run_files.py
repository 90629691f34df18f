"""Run files: what a finished search leaves in its folder, and what is printed of it."""

import json
import re
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from safetensors.numpy import load_file

from benchmarks.numbers.command_line import said
from benchmarks.numbers.figures import (
    Figure,
    arrays_digest,
    digest,
    steady,
    steady_text,
)
from benchmarks.numbers.searched import searched
from nas.export.network import network_of_trial
from nas.export.quantize import QuantizationRecipe, quantize
from nas.export.retrain import retrain
from nas.problem.run_file import to_yaml
from nas.problem.search_problem import load_setting
from nas.report.finish import finish_run
from nas.report.page import write_report
from nas.runs.lock import is_locked
from nas.search.run import run_search
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage
from tests.nas.parts.tiny import tiny

HEADING = re.compile(r"<h([1-3])[^>]*>(.*?)</h\1>", re.DOTALL)
TAG = re.compile(r"<[^>]+>")


def run_folder_figures(folder: Path) -> dict[str, Figure]:
    with chdir(folder):
        Path("run.yaml").write_text(to_yaml(tiny()))
        results = run_search(tiny(), Path("runs"))
        finish_run(results)
        retrain(results, results.pick("knee"), 1)
        setting = load_setting(results.config)
        network = network_of_trial(results, results.pick("best"), setting.splits)
        quantized = quantize(network, QuantizationRecipe("w8a8"), setting.examples)
        found = about_folder(results)
        found["printed"] = {
            " ".join(words): steady_text(said(*words)) for words in commands(results)
        }
        found["quantized"] = [quantized.accuracy, quantized.bytes, quantized.bytes_before]
        found["read back"] = [trial.hash for trial in load_results(results.run.path).trials]
        found["locked"] = is_locked(results.run)
        timed = searched("hybrid", {"latency": {"source": "hybrid"}}, Path("runs"))
        write_report(timed)
        found["hybrid"] = about_folder(timed)
        rungs = {"training": {"epochs": 2}, "search": {"trials": 6, "early_stopping": {}}}
        found["rungs"] = about_folder(searched("rungs", rungs, Path("runs")))
    return found


def commands(results: RunResults) -> Iterator[tuple[str, ...]]:
    run = str(results.run.path)
    knee = results.pick("knee").hash
    yield "status", run
    yield "front", run
    yield "front", run, "--json"
    yield "show", f"{run}/architectures/{knee}.json", "--no-times"
    yield "space", "show", "run.yaml"
    yield "space", "sample", "run.yaml", "--count", "3"
    yield "networks", "--resolution", "64"
    yield "sensitivity", run, "--pick", "best"
    yield "device", "list"


def about_folder(results: RunResults) -> dict[str, Figure]:
    path = results.run.path
    files = sorted(each for each in path.rglob("*") if each.is_file())
    found: dict[str, Figure] = {
        "files": [each.relative_to(path).as_posix() for each in files if is_lasting(each, path)],
        "folders": sorted(each.name for each in path.iterdir() if each.is_dir()),
        "json": {
            each.relative_to(path).as_posix(): about_json(each)
            for each in files
            if each.suffix == ".json" and is_lasting(each, path)
        },
        "weights": {
            each.stem: arrays_digest(load_file(each))
            for each in files
            if each.suffix == ".safetensors"
        },
        "config": (path / "config.yaml").read_text(),
        "attributes": attribute_names(results),
    }
    if results.run.report_file.exists():
        found["headings"] = headings(results.run.report_file.read_text())
    return found


def is_lasting(file: Path, run: Path) -> bool:
    """Whether a file is called alike each time: not those that drivers keep."""
    return file.relative_to(run).parts[0] not in ("activity", "drivers")


def about_json(path: Path) -> Figure:
    """What a file says, but for times and versions, and which keys it has."""
    data = json.loads(path.read_text())
    return {"says": digest(steady(data)), "keys": sorted(key_paths(data))}


def key_paths(data: Figure, at: str = "") -> set[str]:
    """Every key of a file with those above it; items of lists count as one."""
    if isinstance(data, dict):
        return {f"{at}{key}" for key in data}.union(
            *(key_paths(value, f"{at}{key}.") for key, value in data.items())
        )
    if isinstance(data, list):
        return set().union(*(key_paths(value, f"{at}*.") for value in data))
    return set()


def attribute_names(results: RunResults) -> dict[str, Figure]:
    """The names of what the study and its trials carry; a driver's own ends in its name."""
    storage = open_storage(results.config.search.storage, results.run.journal)
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    system = {name for trial in trials for name in trial.system_attrs}
    return {
        "name": study.study_name,
        "directions": [direction.name for direction in study.directions],
        "study": sorted({name.partition(":")[0] for name in study.user_attrs}),
        "trials": sorted({name for trial in trials for name in trial.user_attrs}),
        "of Optuna": sorted({name.partition(":")[0] for name in system}),
        "parameters": sorted({name for trial in trials for name in trial.params}),
        "states": [trial.state.name for trial in trials],
    }


def headings(page: str) -> list[str]:
    return [f"h{level} {TAG.sub('', text).strip()}" for level, text in HEADING.findall(page)]
