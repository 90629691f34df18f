"""Architecture files: versioned JSON that holds the genes and the whole graph, and a stable hash.

A file stands on its own: reading it needs neither the space nor the code that made it. Fields at
their default are left out, so that a new field with a default changes no file and no hash.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import OPERATOR_NAMES, OPERATORS, Operator
from search_spaces.graphs.precision import Precision, get_precision
from search_spaces.space.space import Architecture

FORMAT = "hwnas.architecture"
VERSION = 1
# A prune ratio tells how a width came about; the computation is the same with or without it.
NOT_IDENTITY = frozenset({"prune_ratio"})


def graph_hash(graph: Graph) -> str:
    """Returns 16 hex digits that are equal for graphs that compute the same.

    Node names and prune ratios do not count; operators, their settings, wiring and order do.
    """
    at = {INPUT: -1} | {node.name: index for index, node in enumerate(graph.nodes)}
    rows = [
        {
            **{k: v for k, v in operator_fields(node.operator).items() if k not in NOT_IDENTITY},
            "inputs": [at[name] for name in node.inputs],
        }
        for node in graph.nodes
    ]
    text = json.dumps([graph.input_shape, rows], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_json(architecture: Architecture) -> dict[str, Any]:
    """Returns the architecture as JSON-ready data."""
    graph = architecture.graph
    return {
        "format": FORMAT,
        "version": VERSION,
        "hash": graph_hash(graph),
        "space": architecture.space,
        "genes": dict(architecture.genes),
        "graph": {
            "input_shape": list(graph.input_shape),
            "nodes": [
                {
                    "name": node.name,
                    "inputs": list(node.inputs),
                    **operator_fields(node.operator),
                }
                for node in graph.nodes
            ],
        },
    }


def from_json(data: Mapping[str, Any]) -> Architecture:
    """Returns the architecture that ``data`` holds; shapes are inferred and checked anew.

    Raises:
        UserError: If the data is not an architecture, is of a newer version, has an unknown
            operator or field, or does not match its own hash.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise UserError(f"this is no architecture file: its 'format' must be {FORMAT!r}")
    if data.get("version") != VERSION:
        raise UserError(
            f"architecture file of version {data.get('version')!r}; this hwnas reads version "
            f"{VERSION}; upgrade hwnas"
        )
    try:
        graph = read_graph(data["graph"])
        architecture = Architecture(str(data["space"]), tuple(data["genes"].items()), graph)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the architecture file is damaged: {type(error).__name__} {error}"
        ) from None
    if data.get("hash") != graph_hash(graph):
        raise UserError(
            f"the architecture's graph hashes to {graph_hash(graph)}, its file says "
            f"{data.get('hash')}; the file was changed after it was written"
        )
    return architecture


def read_graph(data: Mapping[str, Any]) -> Graph:
    channels, height, width = (int(size) for size in data["input_shape"])
    net = GraphBuilder((channels, height, width))
    nodes: dict[str, Node] = {INPUT: net.input}
    for row in data["nodes"]:
        if missing := [name for name in row["inputs"] if name not in nodes]:
            raise UserError(
                f"node {row['name']!r} reads {missing[0]!r}, which no node before it gives"
            )
        inputs = (nodes[name] for name in row["inputs"])
        nodes[row["name"]] = net.add(row["name"], read_operator(row), *inputs)
    return net.graph()


def operator_fields(operator: Operator) -> dict[str, Any]:
    """Returns an operator's name and the fields that are not at their default."""
    row: dict[str, Any] = {"operator": OPERATOR_NAMES[type(operator)]}
    for item in fields(operator):  # type: ignore[arg-type]
        value = getattr(operator, item.name)
        if item.default is MISSING or value != item.default:
            row[item.name] = value.name if isinstance(value, Precision) else value
    return row


def read_operator(row: Mapping[str, Any]) -> Operator:
    name = row["operator"]
    if name not in OPERATORS:
        raise UserError(
            f"unknown operator {name!r} at node {row['name']!r}; known operators: "
            f"{', '.join(sorted(OPERATORS))}"
        )
    kind = OPERATORS[name]
    known: dict[str, Field[Any]] = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    given = {k: v for k, v in row.items() if k not in ("name", "inputs", "operator")}
    if unknown := sorted(given.keys() - known.keys()):
        raise UserError(
            f"operator {name!r} at node {row['name']!r} has no field {unknown[0]!r}; its fields "
            f"are {', '.join(known)}"
        )
    return kind(**{key: read_field(key, value) for key, value in given.items()})


def read_field(key: str, value: object) -> object:
    if key == "precision":
        return get_precision(str(value))
    return tuple(value) if isinstance(value, list) else value


def save_architecture(architecture: Architecture, path: Path) -> None:
    """Writes the architecture to ``path`` as JSON."""
    path.write_text(json.dumps(to_json(architecture), indent=1) + "\n")


def load_architecture(path: Path) -> Architecture:
    """Reads an architecture file.

    Raises:
        UserError: If the file is missing, is not JSON, or is no valid architecture.
    """
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read architecture file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    try:
        return from_json(data)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
