"""Kernel times: what each kernel of a run's network takes, kept in the run folder.

They are measured for the few networks that are looked at closely, not for every candidate:
``kernels/HASH.json``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latency_models.measurement.layer_table import LayerTimes, rows_of_nodes, times_by_row
from latency_models.measurement.measurer import Measurer
from nas.runs.files import read_json, write_json
from nas.runs.folder import RunFolder
from nas.study.results import TrialResult
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.quantization.reprecision import full_precision

FORMAT = "hwnas.kernel_times"
VERSION = 1


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """What each kernel of a network takes alone, and how that was found out.

    Attributes:
        runtime: What ran the kernels.
        device: Where.
        date: When, in UTC, as ISO 8601.
    """

    layers: LayerTimes
    runtime: str
    device: str
    date: str


def kernel_times_file(run: RunFolder, key: str) -> Path:
    return run.path / "kernels" / f"{key}.json"


def time_layers(graph: Graph, measurer: Measurer) -> LayerTimes:
    """Measures the kernels of a network, and where it has low-bit layers, of it in float32.

    Raises:
        UnsupportedOperatorError: If the runtime tells no times per kernel.
        MeasurementError: If the network could not be measured.
    """
    own = measurer.kernel_latencies(graph)
    plain, rows = full_precision(graph), rows_of_nodes(graph)
    return LayerTimes(
        times_by_row(graph, own),
        {rows[time.name]: time.instruction for time in own if time.instruction},
        None if plain == graph else times_by_row(plain, measurer.kernel_latencies(plain)),
    )


def measure_kernel_times(run: RunFolder, trial: TrialResult, measurer: Measurer) -> KernelTimes:
    """Measures the kernels of ``trial``'s network, keeps the times and returns them.

    Raises:
        UnsupportedOperatorError: If the runtime tells no times per kernel.
        MeasurementError: If the network could not be measured.
    """
    graph = run.load_architecture(trial.hash).graph
    times = KernelTimes(
        time_layers(graph, measurer),
        measurer.runtime,
        measurer.device_name,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(
        kernel_times_file(run, trial.hash),
        {
            "format": FORMAT,
            "version": VERSION,
            "runtime": times.runtime,
            "device": times.device,
            "date": times.date,
            "kernels_ms": dict(times.layers.ms),
            "instructions": dict(times.layers.instructions),
            "fp32_ms": None if times.layers.fp32_ms is None else dict(times.layers.fp32_ms),
        },
    )
    return times


def load_kernel_times(run: RunFolder, key: str) -> KernelTimes | None:
    """Returns the kept times of the graph with this hash; None where it was not measured.

    Raises:
        UserError: If the file is damaged.
    """
    path, remedy = kernel_times_file(run, key), "delete it and report again"
    times = Mapping[str, float]
    kinds: dict[str, Any] = {
        **{"kernels_ms": times, "fp32_ms": times | None, "instructions": Mapping[str, str]},
        **dict.fromkeys(("runtime", "device", "date"), str),
    }
    try:
        data = read_json(path, remedy, kinds)
        # Runs of older versions have neither of the last two.
        layers = LayerTimes(data["kernels_ms"], data.get("instructions", {}), data.get("fp32_ms"))
        return KernelTimes(layers, data["runtime"], data["device"], data["date"])
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise UserError(f"{path} is damaged (it lacks {error}); {remedy}") from None
