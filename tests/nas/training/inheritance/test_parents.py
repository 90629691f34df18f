"""Whom a candidate inherits from is the nearest network that has weights, decided once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas.problem.records import Inherit
from nas.runs.evaluation import Evaluation, Heritage
from nas.runs.files import arrays_bytes
from nas.runs.folder import RunFolder
from nas.training.inheritance.parents import FinishedNetwork, RunParents, nearest
from search_spaces.building.choice import Value
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import random_model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, complete, restore
from tests.nas.parts.tiny import tiny

SPACE = replace(tiny().config(is_tried=True).space, in_channels=1, num_classes=10)
ALWAYS = Inherit(after=1, afresh=0, least_share=0.01)


def of(width: int, **changes: Value) -> Architecture:
    genes = {"stem.width": 8, "stage0.depth": 1, "stage0.width": width}
    block = {"stage0.layer0.block": "depthwise_separable"}
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return complete(SPACE, genes | block | named, Random(0))


def file(
    run: RunFolder, architecture: Architecture, accuracy: float, parent: str | None = None
) -> str:
    """Files a network as its search does."""
    key = graph_hash(architecture.graph)
    heritage = None if parent is None else Heritage(parent, 0.5)
    values = {"accuracy": accuracy}
    found = Evaluation(key, "finished", None, values, {}, epochs=1, inherited=heritage)
    model = random_model(architecture.graph, np.random.default_rng(0))
    run.save_evaluation(architecture, found, model.arrays)
    return key


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def known(key: str, accuracy: float, **genes: Value) -> FinishedNetwork:
    return FinishedNetwork(key, genes, accuracy, is_afresh=True)


def test_the_nearest_has_most_genes_in_common_and_of_several_is_the_most_accurate() -> None:
    genes: Mapping[str, Value] = {"width": 8, "depth": 2, "block": "plain"}
    far = known("a", 0.9, width=4, depth=1, block="plain")
    near = known("b", 0.2, width=8, depth=2, block="fire")
    nearer = known("c", 0.3, width=8, depth=1, block="plain")
    longer = known("d", 0.8, width=8, depth=2, block="fire", ratio=1)

    assert nearest(genes, [far, near, longer]) == near
    assert nearest(genes, [near, nearer, far]) == nearer
    assert nearest(genes, []) is None


def test_the_first_networks_inherit_nothing_and_those_that_inherit_do_not_count(
    run: RunFolder,
) -> None:
    rule = replace(ALWAYS, after=2)
    first = file(run, of(8), 0.5)
    file(run, of(16), 0.6, parent=first)

    assert RunParents(run, rule).heritage_of(of(24)) is None
    file(run, of(8, stage0__depth=2), 0.4)
    other = of(24, stem__width=4)
    assert RunParents(run, rule).heritage_of(other) is not None


def test_a_share_of_the_candidates_is_trained_from_nothing_whoever_decides(
    run: RunFolder, tmp_path: Path
) -> None:
    file(run, of(8), 0.5)
    wide = of(24)
    share = int(graph_hash(wide.graph), 16) / 16**16

    assert RunParents(run, replace(ALWAYS, afresh=share + 0.01)).heritage_of(wide) is None
    RunParents(run, ALWAYS).forget(graph_hash(wide.graph))
    assert RunParents(run, replace(ALWAYS, afresh=share - 0.01)).heritage_of(wide) is not None


def test_what_has_too_little_in_common_inherits_nothing(run: RunFolder) -> None:
    file(run, of(8), 0.5)
    candidate = of(24, stage0__layer0__block="plain")

    heritage = RunParents(run, ALWAYS).heritage_of(candidate)
    assert heritage is not None
    RunParents(run, ALWAYS).forget(graph_hash(candidate.graph))
    choosy = replace(ALWAYS, least_share=heritage.share + 0.01)
    assert RunParents(run, choosy).heritage_of(candidate) is None


def test_what_was_decided_stays_decided_until_it_is_forgotten(run: RunFolder) -> None:
    first = file(run, of(8), 0.5)
    candidate, key = of(24), graph_hash(of(24).graph)
    heritage = RunParents(run, ALWAYS).heritage_of(candidate)
    assert heritage is not None
    assert heritage.parent == first

    better = file(run, of(16), 0.9)

    assert RunParents(run, ALWAYS).heritage_of(candidate) == heritage
    RunParents(run, ALWAYS).forget(key)
    again = RunParents(run, ALWAYS).heritage_of(candidate)
    assert again is not None
    assert again.parent == better
    RunParents(run, ALWAYS).give_up(key)
    assert RunParents(run, ALWAYS).heritage_of(candidate) is None


def test_networks_without_weights_and_unfinished_or_damaged_ones_are_no_parents(
    run: RunFolder,
) -> None:
    gone, kept = file(run, of(16), 0.9), file(run, of(8), 0.5)
    broken = file(run, of(16, stem__width=4), 0.9)
    run.weights_file(gone).unlink()
    run.evaluation_file(broken).write_text("{")
    ended = file(run, of(24, stem__width=4), 0.9)
    evaluation = run.load_evaluation(ended)
    assert evaluation is not None
    run.replace_evaluation(replace(evaluation, status="stopped", reason="early"))

    heritage = RunParents(run, ALWAYS).heritage_of(of(24))

    assert heritage is not None
    assert heritage.parent == kept


def test_a_damaged_decision_is_made_again(run: RunFolder) -> None:
    file(run, of(8), 0.5)
    heritage = RunParents(run, ALWAYS).heritage_of(of(24))
    (path,) = run.heritage.iterdir()
    for text in ("{", "{}", '{"inherited": {"parent": 3}}'):
        path.write_text(text)
        assert RunParents(run, ALWAYS).heritage_of(of(24)) == heritage


def test_a_parent_is_read_whole_or_refused_in_one_line(run: RunFolder) -> None:
    key = file(run, of(8), 0.5)
    parents = RunParents(run, ALWAYS)
    assert parents.load(key).architecture == restore(SPACE, dict(of(8).genes))

    path = run.weights_file(key)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged"):
        parents.load(key)
    arrays = random_model(of(8).graph, np.random.default_rng(0)).arrays
    path.write_bytes(arrays_bytes({name: array * np.nan for name, array in arrays.items()}))
    with pytest.raises(UserError, match=r"is damaged: .* is not finite"):
        parents.load(key)
    path.unlink()
    with pytest.raises(UserError, match="no weights"):
        parents.load(key)
