"""Architecture files: versioned JSON that holds the genes and the whole graph, and a stable hash.

A file stands on its own: reading it needs neither the space nor the code that made it. Fields at
their default are left out, so that a new field with a default changes no file and no hash.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from math import prod
from pathlib import Path
from typing import Any

from search_spaces.building.builder import GraphBuilder
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.operators import OPERATOR_NAMES, OPERATORS, Operator, Shape
from search_spaces.graphs.precision import Precision, Sparsity, get_precision
from search_spaces.graphs.schema import hints, parse_json, read_as, shown
from search_spaces.space.space import Architecture

FORMAT = "hwnas.architecture"
VERSION = 1
# A prune ratio tells how a width came about; the computation is the same with or without it.
NOT_IDENTITY = frozenset({"prune_ratio"})
# Of a file: beyond these, whatever reads a graph would be at work for ever.
MOST_NODES, MOST_INPUTS = 4_000, 256
MOST_NUMBERS = 1 << 31  # of one map, and of all arrays together
MOST_SIZE = 1 << 20  # of anything that an operator counts


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
            f"architecture file of version {shown(data.get('version'))}; this hwnas reads version "
            f"{VERSION}; upgrade hwnas"
        )
    try:
        graph = graph_of(data["graph"])
        genes = read_as(Mapping[str, Value], data["genes"], "genes")
        architecture = Architecture(str(data["space"]), tuple(genes.items()), graph)
    except KeyError as error:
        raise UserError(f"the architecture file is damaged: it lacks {error}") from None
    if data.get("hash") != graph_hash(graph):
        raise UserError(
            f"the architecture's graph hashes to {graph_hash(graph)}, its file says "
            f"{shown(data.get('hash'))}; the file was changed after it was written"
        )
    return architecture


def read_graph(data: Mapping[str, Any]) -> Graph:
    """Returns the graph that ``data`` holds; types, ranges and shapes are checked.

    Raises:
        UserError: If they are wrong, or a part is missing.
    """
    try:
        return graph_of(data)
    except KeyError as error:
        raise UserError(f"the graph lacks {error}") from None


def graph_of(data: Mapping[str, Any]) -> Graph:
    try:
        graph = built(data)
    except UserError:
        raise
    except ValueError as error:  # of an operator or the builder, and complete in itself
        raise UserError(str(error)) from None
    check_sizes(graph)
    return graph


def built(data: Mapping[str, Any]) -> Graph:
    read_as(Mapping[str, Any], data, "graph")
    net = GraphBuilder(read_as(Shape, data["input_shape"], "input_shape"))
    nodes: dict[str, Node] = {INPUT: net.input}
    rows = read_as(tuple[Mapping[str, Any], ...], data["nodes"], "nodes")
    if len(rows) > MOST_NODES:
        raise UserError(f"a graph may have {MOST_NODES} nodes, got {len(rows)}")
    for index, row in enumerate(rows):
        name = node_name(read_as(str, row["name"], f"name of node {index}"))
        inputs = read_as(tuple[str, ...], row["inputs"], f"inputs of node {name!r}")
        if len(inputs) > MOST_INPUTS:
            raise UserError(f"node {name!r} may read {MOST_INPUTS} maps, got {len(inputs)}")
        if missing := [each for each in inputs if each not in nodes]:
            raise UserError(
                f"node {name!r} reads {shown(missing[0])}, which no node before it gives"
            )
        nodes[name] = net.add(name, read_operator(row), *(nodes[each] for each in inputs))
    return net.graph()


def node_name(name: str) -> str:
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise UserError(f"a node's name must be 1 to 200 printable letters, got {shown(name)}")
    return name


def check_sizes(graph: Graph) -> None:
    """Raises UserError if a map or the arrays are too large, or two arrays have one name."""
    for name, shape in graph.shapes.items():
        if prod(shape) > MOST_NUMBERS:
            raise UserError(f"the map {name!r} of {shape} holds more than {MOST_NUMBERS} numbers")
    shapes = graph.array_shapes()
    if sum(map(prod, shapes.values())) > MOST_NUMBERS:
        raise UserError(f"the graph's arrays hold more than {MOST_NUMBERS} numbers together")
    each = (node.operator.array_shapes(*graph.input_shapes(node)) for node in graph.nodes)
    if len(shapes) != sum(map(len, each)):
        raise UserError("two nodes' arrays have one name; rename one of the nodes")


def operator_fields(operator: Operator) -> dict[str, Any]:
    """Returns an operator's name and the fields that are not at their default."""
    row: dict[str, Any] = {"operator": OPERATOR_NAMES[type(operator)]}
    for item in fields(operator):  # type: ignore[arg-type]
        value = getattr(operator, item.name)
        if item.default is MISSING or value != item.default:
            row[item.name] = written(value)
    return row


def written(value: object) -> object:
    """A field as JSON has it."""
    if isinstance(value, Precision):
        return value.name
    return asdict(value) if isinstance(value, Sparsity) else value


def read_operator(row: Mapping[str, Any]) -> Operator:
    """Returns the operator of a row: its fields are of the types that it declares, and no others.

    Raises:
        UserError: If the operator or a field is unknown or wrong.
    """
    name = row["operator"]
    if not isinstance(name, str) or name not in OPERATORS:
        raise UserError(
            f"unknown operator {shown(name)} at node {row['name']!r}; known operators: "
            f"{', '.join(sorted(OPERATORS))}"
        )
    known = hints(OPERATORS[name])
    given = {k: v for k, v in row.items() if k not in ("name", "inputs", "operator")}
    if unknown := sorted(given.keys() - known.keys()):
        raise UserError(
            f"operator {name!r} at node {row['name']!r} has no field {shown(unknown[0])}; its "
            f"fields are {', '.join(known)}"
        )
    at = f"node {row['name']!r}: "
    try:
        return OPERATORS[name](**{k: read_field(known[k], v, at + k) for k, v in given.items()})
    except TypeError as error:  # a field without a default is missing
        raise UserError(f"{at}{str(error).removeprefix(f'{OPERATORS[name].__name__}.')}") from None


def read_field(kind: Any, value: object, at: str) -> object:  # noqa: ANN401  (an annotation)
    if kind is Precision:
        return get_precision(read_as(str, value, at))
    read = read_as(kind, value, at)
    for number in read if isinstance(read, tuple) else (read,):
        if isinstance(number, int) and abs(number) > MOST_SIZE:
            raise UserError(f"{at} must be at most {MOST_SIZE}, got {shown(number)}")
    return read


def save_architecture(architecture: Architecture, path: Path) -> None:
    """Writes the architecture to ``path`` as JSON."""
    path.write_text(json.dumps(to_json(architecture), indent=1) + "\n", "utf-8")


def load_architecture(path: Path) -> Architecture:
    """Reads an architecture file.

    Raises:
        UserError: If the file is missing, is not JSON, or is no valid architecture.
    """
    try:
        data = parse_json(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read architecture file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    try:
        return from_json(data)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
