"""Worth: what a network is worth, and what it takes on the device where that can be timed."""

from dataclasses import replace
from typing import Any

from latency_models.devices import latency as latencies
from latency_models.devices.latency import DeviceBusyError
from nas.compression.running.compression import Compression
from nas.compression.running.records import Standing
from nas.compression.steps.registry import WRITERS
from nas.compression.stop import StopRules
from nas.models.archives.estimate import estimated_bytes
from nas.training.accuracy import accuracy, confusion
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


def standing_of(run: Compression, model: Model) -> Standing:
    tensors, cost = run.start.tensors, network_cost(model.graph)
    found = confusion(model, tensors.validation)
    latency, why = timed(run, model)
    return Standing(
        accuracy=found.accuracy,
        scores=found.scores,
        test_accuracy=accuracy(model, tensors.test),
        params=cost.params,
        macs=cost.macs,
        bytes=cost.weight_bytes,
        num_validation=len(tensors.validation),
        num_test=len(tensors.test),
        latency=latency,
        not_measured=why,
        archive_bytes=estimated_bytes(model),
    )


def timed(run: Compression, model: Model) -> tuple[dict[str, Any] | None, str]:
    """Returns what a network takes on the device, or why that is not known.

    A machine that was too busy is asked again at the end, and before that only where
    ``stop.until`` must know: each time it is waited for.
    """
    bench = run.bench
    if bench.measurers is None:
        return None, "not asked for"
    if run.busy and not (bench.has_timed(model) or needs_latency(bench.recipe.stop)):
        return None, run.busy
    try:
        return latencies.to_json(bench.timed(model, bench.measurers)), ""
    except DeviceBusyError as error:
        run.busy = str(error)
        run.watch.say(f"not timed now, and tried again at the end: {error}")
        return None, run.busy
    except UserError as error:  # a network that the device cannot run
        return None, str(error)


def needs_latency(stop: StopRules) -> bool:
    return any(rule.metric.name == "latency_ms" for rule in stop.until)


def time_again(run: Compression) -> None:
    """Times what a busy machine has left out, until it is too busy again."""
    for index, record in enumerate(run.records):
        standing = record.standing
        if standing.latency is not None or run.bench.measurers is None:
            continue
        run.busy = ""
        found, why = timed(run, run.model_of(run.kept if record.name in WRITERS else record))
        standing = replace(standing, latency=found, not_measured=why)
        run.records[index] = replace(record, standing=standing)
        run.folder.save_record(run.records[index])
        if run.busy:
            return
