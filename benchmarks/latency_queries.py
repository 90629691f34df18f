"""How long asking for a predicted latency takes: in a process, from the shell, over HTTP.

    python -m benchmarks.latency_queries --device host --json docs/results/latency_queries.json

The architectures are drawn from a space. A process is warm once it has met their kernels. Each
client of the service is a process of its own on this machine, with one connection, and sends its
next query as soon as it has its answer.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.report import print_table, write_json
from latency_models.prediction.predictor import Predictor
from latency_models.transfer.predictions import profiled_model, read_architecture
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.space.architecture import to_json

QUERY_MS = 5.0
BATCH_S = 1.0
COLD_S = 1.5
PER_SECOND = 200.0
P99_MS = 100.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
NAS = (sys.executable, "-m", "nas", "latency")


def draw(config: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Returns architectures of a space, as their files hold them."""
    from nas.evaluation.drawing import read_space  # not in the processes of clients
    from search_spaces.space.space import sample

    space, rng = read_space(config, None, None), Random(seed)
    return [to_json(sample(space, rng)) for _ in range(count)]


def milliseconds(work: Callable[..., object], *given: object) -> float:
    """Returns how long ``work`` takes with what it is given."""
    start = perf_counter()
    work(*given)
    return 1e3 * (perf_counter() - start)


def row(
    what: str, times_ms: Sequence[float], target: str = "-", holds: bool | np.bool_ | None = None
) -> dict[str, Any]:
    median, p99 = np.percentile(times_ms, [50, 99])
    return {
        "query": what,
        "times": len(times_ms),
        "median ms": float(median),
        "p99 ms": float(p99),
        "target": target,
        "holds": "-" if holds is None else "yes" if holds else "no",
    }


def in_process(
    model: Predictor, texts: Sequence[str], repeats: int, extrapolate: bool
) -> list[dict[str, Any]]:
    """Times queries of one process: first while kernels are new to it, then warm.

    Each query has graphs of its own, so nothing but what the model knows of kernels is left over.
    """

    def of_graph(graph: Graph) -> object:
        return model.latency(graph, extrapolate=extrapolate)

    def of_text(text: str) -> object:
        return of_graph(read_architecture(json.loads(text)))

    def of_graphs(graphs: Sequence[Graph]) -> object:
        return model.latencies(graphs, extrapolate=extrapolate)

    def read() -> list[Graph]:
        return [read_architecture(json.loads(text)) for text in texts]

    few, all_of_them = len(texts) // 4, f"{len(texts)} graphs in one call"
    new = [milliseconds(of_graph, graph) for graph in read()[:few]]
    new_batch = [milliseconds(of_graphs, read())]
    singles = [milliseconds(of_graph, graph) for graph in read()]
    from_text = [milliseconds(of_text, text) for text in texts]
    batches = [milliseconds(of_graphs, read()) for _ in range(repeats)]
    single, whole = f"median <= {QUERY_MS:g} ms", f"median <= {BATCH_S:g} s"
    return [
        row("one graph, its kernels new", new),
        row("one graph, warm", singles, single, np.median(singles) <= QUERY_MS),
        row("one graph read from JSON, warm", from_text, single, np.median(from_text) <= QUERY_MS),
        row(f"{all_of_them}, most kernels new", new_batch),
        row(f"{all_of_them}, warm", batches, whole, np.median(batches) <= 1e3 * BATCH_S),
    ]


def cold(device: str, text: str, repeats: int, extrapolate: bool) -> dict[str, Any]:
    """Times the whole process of the command."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "architecture.json"
        file.write_text(text)
        words = [*NAS, "predict", str(file), "--device", device]
        words += ["--extrapolate"] if extrapolate else []

        def run() -> None:
            subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True)

        run()  # fills the file system's cache; the process itself starts cold every time
        times = [milliseconds(run) for _ in range(repeats)]
    holds = float(np.median(times)) <= 1e3 * COLD_S
    return row("nas latency predict, whole process", times, f"median <= {COLD_S:g} s", holds)


@contextmanager
def service(batch: int) -> Iterator[str]:
    """Runs ``nas latency serve`` and gives its address."""
    words = [*NAS, "serve", "--port", "0", "--max-batch", str(batch), "--max-seconds", "60"]
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "HWNAS_TOKEN"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.search(r"http://\S+:\d+", line):
                break
        if found is None:
            raise UserError("nas latency serve did not start; run it by hand to see why")
        try:
            yield found[0]
        finally:
            process.terminate()


def post(connection: HTTPConnection, path: str, body: str) -> float:
    """Returns the milliseconds that the service took to answer."""
    start = perf_counter()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    said = response.read()
    if response.status != 200:
        raise UserError(f"the service answered {response.status}: {said.decode()}")
    return 1e3 * (perf_counter() - start)


def connect(url: str) -> HTTPConnection:
    at = urlsplit(url)
    return HTTPConnection(at.hostname or "", at.port, timeout=60)


def ask(url: str, bodies: Sequence[str], seconds: float) -> list[float]:
    """Asks one query after another; returns the milliseconds of each."""
    connection, times = connect(url), []
    stop = perf_counter() + seconds
    for body in cycle(bodies):
        if perf_counter() > stop:
            break
        times.append(post(connection, "/predict", body))
    connection.close()
    return times


def http(
    device: str, texts: Sequence[str], clients: int, seconds: float, extrapolate: bool
) -> tuple[list[dict[str, Any]], float]:
    """Returns the rows of a batch and of all clients together, and predictions a second."""
    rest = f'"device": {json.dumps(device)}, "extrapolate": {json.dumps(extrapolate)}'
    bodies = [f'{{"architecture": {text}, {rest}}}' for text in texts]
    shares = [bodies[number::clients] for number in range(clients)]
    whole = f'{{"architectures": [{", ".join(texts)}], {rest}}}'
    with service(len(texts)) as url, ProcessPoolExecutor(clients, get_context("spawn")) as pool:
        new = [post(connect(url), "/predict/batch", whole)]
        list(pool.map(ask, [url] * clients, shares, [1.0] * clients))  # all are up and warm
        start = perf_counter()
        found = list(pool.map(ask, [url] * clients, shares, [seconds] * clients))
        spent = perf_counter() - start
    times = [time for client in found for time in client]
    rate = len(times) / spent
    holds = rate >= PER_SECOND and np.percentile(times, 99) <= P99_MS
    target = f">= {PER_SECOND:g} / s, p99 <= {P99_MS:g} ms"
    rows = [
        row(f"POST /predict/batch, {len(texts)} architectures, kernels new", new),
        row(f"POST /predict, {clients} clients, warm: {rate:.0f} / s", times, target, holds),
    ]
    return rows, rate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="host", help="a profiled device")
    parser.add_argument(
        "--space", type=Path, default=Path("examples/digits.yaml"), help="run file or space file"
    )
    parser.add_argument("--count", type=int, default=1000, help="architectures")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of asking over HTTP")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--extrapolate", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.count < max(4, options.clients):
        parser.error(f"--count must be at least 4 and one a client, got {options.count}")
    try:
        rows, summary = measure(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    print_table(f"{options.count} architectures of {options.space}, {options.device}", rows)
    write_json(options.json, rows, summary)


def measure(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the rows of the table and what they were measured with.

    Raises:
        UserError: If the device is not profiled, or not for architectures of the space.
    """
    model = profiled_model(options.device)
    texts = [json.dumps(item) for item in draw(options.space, options.count, options.seed)]
    asked = {"extrapolate": options.extrapolate}
    rows = [
        *in_process(model, texts, options.repeats, **asked),
        cold(options.device, texts[0], options.repeats, **asked),
    ]
    over_http, rate = http(options.device, texts, options.clients, options.seconds, **asked)
    summary = {
        "device": options.device,
        "space": str(options.space),
        "predictions a second": rate,
        "about": dict(model.about),
    }
    return [*rows, *over_http], summary


if __name__ == "__main__":
    main()
