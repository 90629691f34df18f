"""Records: latencies, evaluations, earlier runs, what a compiled file says of itself, as JSON."""

import json
from pathlib import Path
from random import Random

import numpy as np

from latency_models.boards.library_file import Metadata, parse_metadata
from latency_models.devices import latency as latencies
from latency_models.devices.latency import Interval, Latency
from nas.runs.evaluation import Evaluation, evaluation_from_json, evaluation_to_json
from nas.runs.findings.earlier_run import EarlierRun, kept, to_json
from nas.runs.folder import RunFolder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import parse_json
from tests.fuzz.mutations import json_text
from tests.fuzz.runner import Kind
from tests.nas.parts.runs import CONDITIONS

MEASURED = Latency(1.0, 0.1, "measured", CONDITIONS)
PREDICTED = Latency(1.0, 0.1, "predicted", interval=Interval(0.9, 1.1), model="learned")
EARLIER = EarlierRun(
    "runs/a",
    {"kind": ("long", "wide"), "width": (8, 16.0)},
    np.array([[0, -1], [1, 1]]),
    {"accuracy": np.array([0.5, np.nan])},
)
METADATA = Metadata(2, (3, 8, 8), (10, 1, 1), "skylake", "x86_64-linux-gnu", ("avx2",), "1", "2")


def kind(folder: Path) -> Kind:
    values = {"accuracy": 0.9, "latency_ms": 1.0}
    found = Evaluation(
        "0a1b", "finished", None, values, {"latency_ms <= 2": -1.0}, MEASURED, 3, (0.8, 0.9),
        {"training": 3.0}, PREDICTED, 4,
    )  # fmt: skip
    samples = [json.loads(METADATA.to_json()), latencies.to_json(MEASURED)]
    samples += [latencies.to_json(PREDICTED), evaluation_to_json(found), to_json([EARLIER])]
    run = RunFolder(folder)

    def attempt(rng: Random) -> None:
        at = rng.randrange(len(samples))
        text = json_text(samples[at], rng)
        if at == 0:
            parse_metadata(folder / "network.so", text)
            return
        if at == 4:
            run.earlier_runs_file.write_text(text)
            kept(run)
            return
        try:
            data = parse_json(text)
        except ValueError as error:  # who reads the file says so
            raise UserError(str(error)) from None
        if at < 3:
            latencies.from_json(data)
        else:
            evaluation_from_json(data)

    return Kind("records", attempt)
