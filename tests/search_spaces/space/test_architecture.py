"""Architecture files round-trip, keep their hash, and refuse what they do not understand."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import (
    from_json,
    graph_hash,
    load_architecture,
    save_architecture,
    to_json,
)
from search_spaces.space.space import Architecture, sample
from tests.search_spaces.space.test_staged import MIXED


def small() -> Graph:
    net = GraphBuilder((3, 8, 8))
    x = net.add("stem", Conv2d(8, (3, 3)), net.input)
    net.add("classifier", Linear(10), net.add("pool", GlobalAvgPool(), x))
    return net.graph()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_architecture_survives_its_file(seed: int) -> None:
    architecture = sample(MIXED, Random(seed))

    back = from_json(json.loads(json.dumps(to_json(architecture))))

    assert back == architecture
    assert back.graph == architecture.graph


def test_the_hash_is_the_same_in_every_version() -> None:
    assert graph_hash(small()) == "b8ccb084db0056a2"


def test_the_hash_ignores_names_and_prune_ratios_only() -> None:
    graph = small()
    stem = graph.nodes[0]
    renamed = GraphBuilder((3, 8, 8))
    x = renamed.add("a", Conv2d(8, (3, 3), prune_ratio=0.5), renamed.input)
    renamed.add("c", Linear(10), renamed.add("b", GlobalAvgPool(), x))
    wider = replace(stem, operator=Conv2d(8, (3, 3), activation="relu6"))

    assert graph_hash(renamed.graph()) == graph_hash(graph)
    assert graph_hash(Graph(graph.input_shape, (wider, *graph.nodes[1:]))) != graph_hash(graph)


def damaged(change: dict[str, Any]) -> dict[str, Any]:
    return to_json(Architecture("s", (), small())) | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "its 'format' must be 'hwnas.architecture'"),
        ({"version": 2}, "of version 2; this hwnas reads version 1; upgrade hwnas"),
        ({"hash": "0" * 16}, "the file was changed after it was written"),
        ({"graph": {}}, "the architecture file is damaged: it lacks 'input_shape'"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_json(damaged(change))


def test_an_unknown_operator_or_field_is_named() -> None:
    data = to_json(Architecture("s", (), small()))
    data["graph"]["nodes"][0]["operator"] = "gelu"
    with pytest.raises(UserError, match="unknown operator 'gelu' at node 'stem'; known operators"):
        from_json(data)

    data = to_json(Architecture("s", (), small()))
    data["graph"]["nodes"][0]["color"] = "red"
    with pytest.raises(UserError, match="operator 'conv2d' at node 'stem' has no field 'color'"):
        from_json(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_channels": float("inf")}, "node 'stem': out_channels must be a whole number"),
        ({"out_channels": 8.0}, "node 'stem': out_channels must be a whole number, got 8.0"),
        ({"out_channels": 10**9}, "node 'stem': out_channels must be at most 1048576"),
        ({"kernel_size": [3]}, r"node 'stem': kernel_size must be a list of 2, got \[3\]"),
        ({"precision": ["w8a8"]}, "node 'stem': precision must be a text"),
        ({"activation": {}}, "node 'stem': activation must be one of"),
        ({"groups": "3"}, "node 'stem': groups must be a whole number, got '3'"),
        ({"name": "a\x1b[31m"}, "a node's name must be 1 to 200 printable letters"),
        ({"name": ["stem"]}, "name of node 0 must be a text"),
        ({"inputs": "input"}, "inputs of node 'stem' must be a list"),
        ({"operator": []}, r"unknown operator \[\] at node 'stem'"),
    ],
)
def test_a_field_of_a_wrong_kind_is_refused_where_it_stands(
    change: dict[str, Any], message: str
) -> None:
    data = to_json(Architecture("s", (), small()))
    data["graph"]["nodes"][0] |= change

    with pytest.raises(ValueError, match=message):
        from_json(data)


def test_a_field_that_is_needed_is_named() -> None:
    data = to_json(Architecture("s", (), small()))
    del data["graph"]["nodes"][0]["out_channels"]

    with pytest.raises(UserError, match=r"node 'stem': .*'out_channels'"):
        from_json(data)


def test_arrays_and_maps_of_a_file_are_bounded_and_named_once() -> None:
    net = GraphBuilder((1 << 11, 1 << 11, 1 << 11))
    net.add("pool", GlobalAvgPool(), net.input)
    with pytest.raises(UserError, match=r"the map 'input' of .* holds more than"):
        from_json(to_json(Architecture("s", (), net.graph())))

    net = GraphBuilder((1 << 15, 1, 1))
    net.add("classifier", Linear(1 << 18), net.input)
    with pytest.raises(UserError, match="arrays hold more than"):
        from_json(to_json(Architecture("s", (), net.graph())))

    net = GraphBuilder((3, 8, 8))
    net.add("a.norm", Linear(4), net.add("a", Conv2d(4), net.input))
    with pytest.raises(UserError, match="two nodes' arrays have one name"):
        from_json(to_json(Architecture("s", (), net.graph())))


def test_files_are_read_back_and_faults_name_the_path(tmp_path: Path) -> None:
    architecture = sample(MIXED, Random(3))
    path = tmp_path / "arch.json"
    save_architecture(architecture, path)
    assert load_architecture(path).graph == architecture.graph

    path.write_text("{")
    with pytest.raises(UserError, match=r"arch.json is not JSON"):
        load_architecture(path)
    with pytest.raises(UserError, match=r"cannot read architecture file .*: No such file"):
        load_architecture(tmp_path / "none.json")
