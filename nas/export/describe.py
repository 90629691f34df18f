"""Papers: what an exported folder says about itself, for programs and for people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from latency_models.devices import latency as latencies
from latency_models.devices.latency import Latency
from latency_models.measurement.sparse_layers import SparseLayer
from latency_models.onnx.parity import changed_answers
from latency_models.onnx.requirements import Requirements, file_requirements
from nas.data.splits import Splits
from nas.export.formats import Format
from nas.export.network import TrainedNetwork
from nas.export.tolerance import has_codes
from nas.export.verify import CheckReport
from nas.models.archives.info import archive_info
from nas.models.folder import input_json
from nas.models.metadata import EXPORT_FORMAT
from nas.problem.answers import wilson
from nas.problem.formatting import interval_in_words, milliseconds, percent, scaled
from nas.runs.provenance import machine, versions
from nas.runs.summary import data_summary
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash

FORMAT = EXPORT_FORMAT
VERSION = 1


def input_metadata(network: TrainedNetwork) -> dict[str, Any]:
    """Returns how an image becomes the network's input; `predict.py` does as it says."""
    shape = network.model.graph.input_shape
    known = replace(
        network.input,
        name="input",
        image_shape=network.input.image_shape or shape,
        fit=network.input.fit or "squash",
        background=network.input.background or "white",
    )
    return input_json(known, shape) | {
        "resize": (
            "as picture.py does, to image_shape by fit; then to shape, where that differs, "
            "bilinear with antialiasing"
        )
    }


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told about an export, to programs and to people.

    Attributes:
        splits: The images that it was checked with; None where none were given.
        exact: Why a file has its exact form, by name.
        sparse: Linear layers that keep few weights or values, each as ``model.so`` has it.
    """

    network: TrainedNetwork
    deployed: Model
    splits: Splits | None
    formats: Sequence[Format]
    checks: CheckReport
    exact: Mapping[str, str]
    sparse: Sequence[SparseLayer] = ()


def metadata(
    facts: Facts,
    measured: Mapping[str, Latency],
    missed: Mapping[str, str],
    folder: Path,
    processor: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Returns everything about the network as JSON-ready data.

    Args:
        missed: Why a file has no latency, by file name.
        folder: Of the files.
        processor: What a compiled file needs.
    """
    network, checks = facts.network, facts.checks
    searched, asked = network.searched, onnx_requirements(folder)
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": network.run,
        "trial": network.trial,
        "name": network.name,
        "hash": network.hash,
        "deployed_hash": graph_hash(facts.deployed.graph),
        "genes": dict(network.genes),
        "input": input_metadata(network),
        "output": {"name": "logits", "shape": [network.num_classes]},
        "class_names": network.class_names,
        "weights": dict(network.weights),
        "costs": asdict(network_cost(facts.deployed.graph)),
        "latency": {
            "searched": latencies.to_json(searched) if searched else None,
            "files": {name: latencies.to_json(found) for name, found in measured.items()},
            "not_measured": dict(missed),
        },
        "onnx": asdict(asked) if asked else None,
        "exact": dict(facts.exact),
        "sparse": {layer.name: str(layer) for layer in facts.sparse},
        "processor": dict(processor) if processor else None,
        "data": None if facts.splits is None else data_summary(facts.splits),
        "machine": machine(),
        "versions": versions(),
        "files": sha256s(folder),
        "test": test_json(checks) if checks.is_tested else None,
        "parity": {
            "differences": dict(checks.parity.differences),
            "limit": checks.parity.limit,
            "images": checks.parity.num_images,
            "of": "validation images" if checks.is_tested else "random images",
        },
    }


def test_json(checks: CheckReport) -> dict[str, Any]:
    """Returns what the test images say, as JSON-ready data."""
    return {
        "accuracy": checks.test_accuracy,
        "interval_95": list(astuple(wilson(checks.test_accuracy, checks.num_test))),
        "correct": checks.test_correct,
        "images": checks.num_test,
        "files": dict(checks.file_correct),
    }


def onnx_requirements(folder: Path) -> Requirements | None:
    """Returns what the ONNX file of a folder asks for; None where there is none."""
    path = folder / "model.onnx"
    return file_requirements(path) if path.exists() else None


def sha256s(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in ``folder``, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def readme(facts: Facts, measured: Mapping[str, Latency], folder: Path) -> str:
    """Returns the folder's README: what is in it, how good it is, how to run it."""
    network, cost = facts.network, network_cost(facts.deployed.graph)
    lines = [
        f"# {network.title}",
        "",
        f"Classifies images into {network.num_classes} classes{names_in_short(network)}.",
        tested(facts.checks),
        f"{scaled(cost.macs)} multiply-accumulates, {scaled(cost.params)} parameters.",
    ]
    if network.input.normalization is None:
        lines.append(
            "How pixels are normalised is not known: `predict.py` takes inputs as the network "
            "does (`--logits`), no pictures."
        )
    searched = network.searched
    if searched is not None:
        lines.append(f"Latency in the search: {described(searched)}.")
    lines += ["", "| file | bytes | latency | |", "|---|---|---|---|"]
    for row in facts.formats:
        time = described(measured[row.file]) if row.file in measured else "not measured"
        size = (folder / row.file).stat().st_size
        lines.append(f"| `{row.file}` | {size:,} | {time} | {row.about} |")
    notes = (*onnx_notes(onnx_requirements(folder)), *archive_notes(folder / "model.hwz"))
    lines += ["", *differences(facts), *notes]
    if facts.sparse:
        lines += ["", "Linear layers in `model.so`, as timed when it was made:", ""]
        lines += [f"- `{layer.name}`: {layer}" for layer in facts.sparse]
    for row in facts.formats:
        lines += [
            "",
            f"To run `{row.file}`:",
            "",
            f"    {row.install}",
            f"    python predict.py --runtime {row.name} photo.png",
        ]
    lines += [
        "",
        "`predict.py` shows how to load each file and how an image becomes an input; what it",
        "loads computes in one thread (`model.so`: one object a thread).",
        "`metadata.json` has shapes, normalisation, class names, conditions and checksums.",
    ]
    return "\n".join(lines) + "\n"


def names_in_short(network: TrainedNetwork) -> str:
    names = network.class_names
    if names is None:
        return ", whose names are not known"
    return f" ({', '.join(names[:10])}{', ...' * (len(names) > 10)})"


def tested(checks: CheckReport) -> str:
    """Returns in words how good the network is, as far as it was tested."""
    if not checks.is_tested:
        return "Its accuracy is not known: it was exported without images to test it on."
    sure = wilson(checks.test_accuracy, checks.num_test)
    return (
        f"Test accuracy {percent(checks.test_accuracy)} ({checks.test_correct} of "
        f"{checks.num_test} images; 95 % interval {interval_in_words(sure)}), "
        f"{files_correct(checks)}."
    )


def differences(facts: Facts) -> list[str]:
    """Returns what outputs of the files may differ by from those of the network as trained."""
    checks = facts.checks
    found = max(checks.parity.differences.values())
    images = "images" if checks.is_tested else "random images"
    lines = [
        f"Outputs differ from the trained network's by at most {found:.1e} of the largest, on "
        f"{checks.parity.num_images} {images}; {checks.parity.limit:.0e} was allowed."
    ]
    if has_codes(facts.deployed.graph) and not checks.is_tested:
        lines.append("A code on the border to the next may fall on either side.")
    elif has_codes(facts.deployed.graph):
        answers = changed_answers(checks.num_test, has_codes=True)
        lines.append(
            f"A code on the border to the next may fall on either side: answers of one image in "
            f"1000 may change (of these test images, {answers})."
        )
    lines += [
        f"`{name}` is in its exact form, which takes 2 to 4 times as long in layers of 8 bits: "
        "in the faster one, rounded biases or sums of this processor moved answers."
        for name in facts.exact
    ]
    return lines


def onnx_notes(asked: Requirements | None) -> list[str]:
    """Returns what readers of the ONNX file must know."""
    if asked is None:
        return []
    batch = "any number of images" if asked.batch is None else f"{asked.batch} images"
    return [
        f"`model.onnx` takes {batch} at once and needs ONNX Runtime {asked.onnxruntime} or newer "
        f"(opset {asked.opset}, IR version {asked.ir_version}).",
        "It was checked in ONNX Runtime; OpenVINO must be asked for 32 bits "
        '(`{"INFERENCE_PRECISION_HINT": "f32"}`), or it computes in 16 where it can.',
    ]


def archive_notes(file: Path) -> list[str]:
    """Returns what is to be known of an archive; nothing where none was written."""
    if not file.exists():
        return []
    found = archive_info(file)
    return [
        f"`{file.name}` takes {found.ratio:.1f} times less than its weights in float32, and gives "
        f"each of them back bit for bit: `nas archive info {file.name}` shows what layers take, "
        f"`nas archive unpack {file.name} --to DIR` makes a model folder of it.",
    ]


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
