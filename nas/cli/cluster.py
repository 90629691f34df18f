"""``nas cluster``: a local Ray cluster for trying things."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.terminal.options import within
from nas.cli.terminal.style import console, table

if TYPE_CHECKING:
    from nas.evaluation.ray.nodes.local_cluster import NodeSize

cluster_app = typer.Typer(
    help="Start, look at and end a Ray cluster on this machine, for trying things.",
    no_args_is_help=True,
)

USE = "nas search CONFIG --ray auto"


@cluster_app.command("up")
def up_command(
    nodes: Annotated[int, typer.Option(help="Nodes to start.", callback=within(1, 64))] = 2,
    cpus_per_node: Annotated[
        int | None,
        typer.Option(help="CPUs of each (default: this machine's, shared out).", min=0),
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of each.", callback=within(0))] = 0,
    resources: Annotated[
        list[str] | None,
        typer.Option(
            help="More that nodes offer, as JSON: first the first node's, e.g. '{\"device:pi4\": "
            "1}'.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start a cluster that only you can use, from this machine only."""
    from nas.evaluation.ray.nodes.local_cluster import start
    from nas.evaluation.ray.nodes.local_status import live_nodes

    cpus = max(1, (os.cpu_count() or 1) // nodes) if cpus_per_node is None else cpus_per_node
    sizes = node_sizes(nodes, cpus, gpus_per_node, resources or [])
    with console.status(f"starting {nodes} Ray node{'s' * (nodes > 1)}"):
        cluster, is_new = start(sizes)
    count = len(cluster.raylets)
    said = "" if is_new else "already "
    dead = count - live_nodes(cluster)
    lost = f" ({dead} dead; nas cluster down, then up, starts anew)" if dead else ""
    console.print(
        f"a cluster of {count} node{'s' * (count > 1)} is {said}up at {cluster.address}{lost}; "
        f"use it with: {USE}"
    )


def node_sizes(nodes: int, cpus: int, gpus: int, resources: list[str]) -> "list[NodeSize]":
    from nas.evaluation.ray.nodes.local_cluster import NodeSize
    from search_spaces.graphs.errors import UserError

    if len(resources) > nodes:
        raise UserError(
            f"--resources is given at most once a node, got {len(resources)} for {nodes} nodes"
        )
    given = [read_resources(text) for text in resources]
    given += [{}] * (nodes - len(given))
    return [NodeSize(cpus, gpus, more) for more in given]


def read_resources(text: str) -> dict[str, float]:
    from search_spaces.graphs.errors import UserError

    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        for value in data.values()
    ):
        raise UserError(
            "--resources must be a JSON object of numbers above 0, like "
            f"'{{\"device:pi4\": 1}}', got {text!r}"
        )
    if taken := {"CPU", "GPU", "memory", "object_store_memory"} & data.keys():
        raise UserError(
            f"--resources cannot set {sorted(taken)[0]}; use --cpus-per-node and --gpus-per-node"
        )
    return data


@cluster_app.command("down")
def down_command() -> None:
    """End the cluster that up has started, and all its processes."""
    from nas.evaluation.ray.nodes.local_cluster import stop

    with console.status("ending the cluster"):
        nodes, processes = stop()
    if nodes or processes:
        console.print(f"the cluster is down ({processes} processes ended)")
    else:
        console.print("no cluster of yours is up")


@cluster_app.command("status")
def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the nodes of the cluster that up has started."""
    from nas.evaluation.ray.nodes.local_cluster import read_state
    from nas.evaluation.ray.nodes.local_status import status

    cluster = read_state()
    if cluster is None or not cluster.address:
        if as_json:
            typer.echo(json.dumps({"nodes": []}))
        else:
            console.print("no cluster of yours is up; start one with: nas cluster up --nodes 2")
        return
    found = status(cluster)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    console.print(f"cluster at {found['address']}, up since {found['started']}")
    made = table("node", "state", ">CPUs", ">GPUs", "resources", ">raylet's process")
    for row in found["nodes"]:
        made.add_row(
            row["name"] + (" (head)" if row["is_head"] else ""),
            "alive" if row["alive"] else "dead",
            count_text(row["cpus"]),
            count_text(row["gpus"]),
            ", ".join(f"{key} {value:g}" for key, value in row["resources"].items()) or "-",
            str(row["raylet_pid"]),
        )
    console.print(made)
    if not found["head_alive"]:
        console.print(
            "its head is dead; start anew with: nas cluster down, nas cluster up, and go on with "
            "searches by --resume",
            style="yellow",
        )
    else:
        console.print(f"use it with: {USE}")


def count_text(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
