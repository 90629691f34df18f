"""Papers: what an exported folder says about itself, for programs and for people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latency_models.devices import latency as latencies
from latency_models.devices.latency import Latency
from nas.data.splits import Splits
from nas.export.formats import Format
from nas.export.verify import CheckReport
from nas.problem.formatting import milliseconds, percent, scaled
from nas.runs.provenance import machine, versions
from nas.runs.summary import data_summary
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash

FORMAT = "hwnas.export"
VERSION = 1


def input_metadata(model: Model, splits: Splits, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how an image becomes the network's input.

    Args:
        pictures: The data's settings, of which ``fit`` and ``background`` say how pictures are
            read.
    """
    channels = model.graph.input_shape[0]
    return {
        "name": "input",
        "shape": list(model.graph.input_shape),
        "layout": "NCHW",
        "dtype": "float32",
        "channel_order": "grey" if channels == 1 else "RGB",
        "image_shape": list(splits.train.image_shape),
        "fit": pictures.get("fit", "squash"),
        "background": pictures.get("background", "white"),
        "resize": (
            "as picture.py does, to image_shape by fit; then to shape, where that differs, "
            "bilinear with antialiasing"
        ),
        "normalisation": "(pixels / 255 - mean) / std",
        "mean": list(splits.normalization.mean),
        "std": list(splits.normalization.std),
    }


def metadata(
    results: RunResults,
    trial: TrialResult,
    deployed: Model,
    splits: Splits,
    *,
    weights: Mapping[str, Any],
    checks: CheckReport,
    measured: Mapping[str, Latency],
    missed: Mapping[str, str],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Returns everything about the network as JSON-ready data.

    Args:
        weights: Where the weights come from, and their validation accuracy.
        missed: Why a file has no latency, by file name.
        files: SHA-256 by file name.
    """
    searched = trial.evaluation.latency
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": results.config.name,
        "trial": trial.number,
        "name": trial.name,
        "hash": trial.hash,
        "deployed_hash": graph_hash(deployed.graph),
        "genes": dict(trial.genes),
        "input": input_metadata(deployed, splits, results.config.data.settings),
        "output": {"name": "logits", "shape": [len(splits.train.class_names)]},
        "class_names": list(splits.train.class_names),
        "weights": dict(weights),
        "costs": asdict(network_cost(deployed.graph)),
        "latency": {
            "searched": latencies.to_json(searched) if searched else None,
            "files": {name: latencies.to_json(found) for name, found in measured.items()},
            "not_measured": dict(missed),
        },
        "data": data_summary(splits),
        "machine": machine(),
        "versions": versions(),
        "files": dict(files),
        "test": {
            "accuracy": checks.test_accuracy,
            "correct": checks.test_correct,
            "images": checks.num_test,
            "files": dict(checks.file_correct),
        },
        "parity": {
            "differences": dict(checks.parity.differences),
            "limit": checks.parity.limit,
            "images": checks.parity.num_images,
        },
    }


def sha256s(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in ``folder``, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def readme(
    results: RunResults,
    trial: TrialResult,
    deployed: Model,
    splits: Splits,
    formats: Sequence[Format],
    checks: CheckReport,
    measured: Mapping[str, Latency],
) -> str:
    """Returns the folder's README: what is in it, how good it is, how to run it."""
    cost, names = network_cost(deployed.graph), splits.train.class_names
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    lines = [
        f"# {results.config.name}: {trial.name}",
        "",
        f"Classifies images into {len(names)} classes ({shown}).",
        f"Test accuracy {percent(checks.test_accuracy)} ({checks.test_correct} of "
        f"{checks.num_test} images), {files_correct(checks)}.",
        f"{scaled(cost.macs)} multiply-accumulates, {scaled(cost.params)} parameters, "
        f"{scaled(cost.weight_bytes, 'B')} of weights.",
    ]
    searched = trial.evaluation.latency
    if searched is not None:
        lines.append(f"Latency in the search: {described(searched)}.")
    lines += ["", "| file | latency | |", "|---|---|---|"]
    for row in formats:
        time = described(measured[row.file]) if row.file in measured else "not measured"
        lines.append(f"| `{row.file}` | {time} | {row.about} |")
    for row in formats:
        lines += [
            "",
            f"To run `{row.file}`:",
            "",
            f"    {row.install}",
            f"    python predict.py --runtime {row.name} photo.png",
        ]
    lines += [
        "",
        "`predict.py` shows how to load each file and how an image becomes an input;",
        "`metadata.json` has shapes, normalisation, class names, conditions and checksums.",
    ]
    return "\n".join(lines) + "\n"


def files_correct(checks: CheckReport) -> str:
    """Returns in words how many test images the files get right."""
    if set(checks.file_correct.values()) == {checks.test_correct}:
        return "the same for every file here"
    each = (f"{name} {count}" for name, count in checks.file_correct.items())
    return f"as trained; of the files, which round some codes otherwise: {', '.join(each)}"


def described(latency: Latency) -> str:
    """Returns a latency in words."""
    if latency.source == "predicted":
        return f"predicted {milliseconds(latency.median_ms)}"
    text = f"{milliseconds(latency.median_ms)} (spread {milliseconds(latency.spread_ms)})"
    if latency.conditions is None:
        return text
    where = latency.conditions
    return f"{text} in {where.runtime} {where.runtime_version} on {where.cpu}"
