"""Summary: what came of a compression, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas.compression.running.folder import BEGUN, CompressionFolder
from nas.compression.running.records import StepRecord
from nas.compression.running.start import Start
from nas.problem.answers import wilson
from nas.runs.files import write_json
from nas.runs.provenance import machine, versions
from search_spaces.graphs.errors import UserError

FORMAT = "hwnas.compression_summary"


def write_summary(
    folder: CompressionFolder,
    start: Start,
    records: Sequence[StepRecord],
    original: StepRecord,
    kept: StepRecord,
) -> None:
    write_json(
        folder.summary_file,
        {
            "format": FORMAT,
            "version": 1,
            "model": start.given,
            "original": original.title,
            "result": kept.title,
            "bought": bought(original, kept),
            "steps": [step_data(record) for record in records],
            "data": start.data,
            "machine": machine(),
            "versions": versions(),
        },
    )


def bought(original: StepRecord, kept: StepRecord) -> dict[str, float]:
    """Returns how many times less the result has and takes, and the points of accuracy lost.

    There is no "latency" where one of them was not timed.
    """
    before, after = original.standing, kept.standing
    found = {
        "params": before.params / max(1, after.params),
        "macs": before.macs / max(1, after.macs),
        "bytes": before.bytes / max(1, after.bytes),
        "points": 100 * (before.accuracy - after.accuracy),
    }
    if before.latency_ms and after.latency_ms:
        found["latency"] = before.latency_ms / after.latency_ms
    return found


def records_of(folder: CompressionFolder, about: Mapping[str, Any]) -> list[StepRecord]:
    """Returns what is known of each step that is over, and of the network before the first.

    Raises:
        UserError: If no step is, or a file is damaged.
    """
    names = [next(iter(step)) for step in about["recipe"].get("steps", {}).values()]
    found = []
    for number, name in enumerate((BEGUN, *names)):
        record = folder.load_record(number, name)
        if record is None:
            break
        found.append(record)
    if not any(record.is_kept for record in found):
        raise UserError(f"{folder.path} has no trained network yet; go on with it with --resume")
    return found


def result_of(records: Sequence[StepRecord]) -> tuple[StepRecord, StepRecord]:
    """Returns the network that all are held against, and the last one that may be the result."""
    kept = [record for record in records if record.is_kept and record.made_one]
    return kept[0], kept[-1]


def step_data(record: StepRecord) -> dict[str, Any]:
    """Returns a step without its curves and histograms, with the interval of its accuracy."""
    data = asdict(record)
    for key in ("curves", "histograms", "layers", "layer_curves"):
        del data[key]
    standing = record.standing
    sure = wilson(standing.accuracy, standing.num_validation)
    return data | {"title": record.title, "interval_95": [sure.low, sure.high]}
