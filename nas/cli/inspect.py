"""Commands that look: ``front``, ``report``, ``networks``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.style import console, metric, table
from nas.numbers import scaled

RunPath = Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")]


def front_command(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the Pareto front of a run."""
    if as_json:
        from nas.finish import front_json
        from nas.results import load_results

        typer.echo(json.dumps(front_json(load_results(run)), indent=1))
    else:
        print_front(run)


def print_front(run: Path) -> None:
    from nas.finish import front_json
    from nas.results import load_results

    data = front_json(load_results(run))
    names = list(data["objectives"])
    tested = any("test_accuracy" in row for row in data["front"])
    extra = [n for n in ("macs", "params") if n not in names]
    columns = [*names, *(["test_accuracy"] if tested else []), *extra]
    made = table("trial", *(f">{name}" for name in columns), "pick", title=f"front of {run}")
    for row in data["front"]:
        values = row["values"] | {"test_accuracy": row.get("test_accuracy")}
        marks = {"latency_ms": "~"} if row.get("latency_source") == "predicted" else {}
        cells = (marks.get(name, "") + metric(name, values.get(name)) for name in columns)
        made.add_row(row["name"], *cells, ", ".join(row["picks"]))
    console.print(made)
    if not data["front"]:
        console.print("no feasible architecture was found yet")


def report_command(run: RunPath) -> None:
    """Write the HTML report of a run anew."""
    from nas.report import write_report
    from nas.results import load_results

    console.print(f"report: {write_report(load_results(run))}")


def networks_command(
    resolution: Annotated[int | None, typer.Option(help="Input height and width.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write each network into this folder as a file.")
    ] = None,
) -> None:
    """List the published networks with their costs."""
    from search_spaces.architecture import save_architecture
    from search_spaces.cost import network_cost
    from search_spaces.networks import NETWORKS
    from search_spaces.space import Architecture

    made = table("network", "input", ">params", ">MACs", ">bytes moved")
    for name, network in NETWORKS.items():
        try:
            graph = network() if resolution is None else network(resolution=resolution)
        except ValueError as error:
            made.add_row(name, f"{resolution}: {error}")
            continue
        cost = network_cost(graph)
        cells = (scaled(cost.params), scaled(cost.macs), scaled(cost.memory_access_bytes))
        made.add_row(name, "x".join(map(str, graph.input_shape)), *cells)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            save_architecture(Architecture(name, (), graph), save / f"{name}.json")
    console.print(made)
