"""What people enqueue is evaluated first, once, and as a trial like any other."""

from pathlib import Path
from random import Random

import pytest

from nas.models.archives.archive import write_archive
from nas.problem.run_file import to_yaml
from nas.problem.search_problem import space_for
from nas.search.enqueue import fitted, read_architectures
from nas.search.run import run_search
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import graph_hash, save_architecture
from search_spaces.space.space import Architecture, sample
from tests.nas.parts.command_line import nas
from tests.nas.parts.models import small_folder, small_graph, small_model
from tests.nas.parts.runs import baseline
from tests.nas.parts.tiny import tiny

SPACE = space_for(tiny().config(), 1, 10)
INSIDE = sample(SPACE, Random(1))
OUTSIDE = baseline("by hand", 4)


def hashes(architectures: list[Architecture]) -> list[str]:
    return [graph_hash(architecture.graph) for architecture in architectures]


def test_a_model_folder_is_enqueued_as_its_architecture(tmp_path: Path) -> None:
    found = read_architectures([small_folder(tmp_path / "m")])

    assert hashes(list(found)) == [graph_hash(small_graph())]


def test_an_archive_is_enqueued_as_its_architecture(tmp_path: Path) -> None:
    write_archive(tmp_path / "m.hwz", small_model())

    found = read_architectures([tmp_path / "m.hwz"])

    assert hashes(list(found)) == [graph_hash(small_graph())]


def test_what_is_enqueued_is_searched_first_and_once(tmp_path: Path) -> None:
    without_genes = Architecture("elsewhere", (), INSIDE.graph)
    queue = [OUTSIDE, without_genes, OUTSIDE]

    results = run_search(tiny(search={"trials": 4}), tmp_path, enqueue=queue)

    first, second, *others = results.searched
    assert [first.hash, second.hash] == hashes([OUTSIDE, INSIDE])
    assert (dict(first.genes), dict(second.genes)) == ({}, dict(INSIDE.genes))
    assert first.evaluation.epochs == second.evaluation.epochs == 1
    assert results.run.load_model(first.hash).graph == OUTSIDE.graph
    assert len(others) == 2

    again = run_search(tiny(search={"trials": 4}), tmp_path, resume=True, enqueue=queue)

    assert [trial.number for trial in again.trials] == [trial.number for trial in results.trials]
    assert again.num_duplicates == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_finished_search_evaluates_what_is_enqueued_later(tmp_path: Path, workers: int) -> None:
    run_search(tiny(search={"trials": 2}), tmp_path)

    file = tiny(search={"trials": 2, "workers": workers})
    results = run_search(file, tmp_path, resume=True, enqueue=[OUTSIDE])

    assert len(results.searched) == 3
    assert results.searched[-1].hash == graph_hash(OUTSIDE.graph)


def test_the_command_line_takes_files_folders_and_fronts(tmp_path: Path) -> None:
    front = run_search(tiny(search={"trials": 3}), tmp_path / "runs").front
    (tmp_path / "made").mkdir()
    save_architecture(OUTSIDE, tmp_path / "by_hand.json")
    save_architecture(INSIDE, tmp_path / "made" / "inside.json")
    (tmp_path / "next.yaml").write_text(to_yaml(tiny(name="next", search={"trials": 1})))

    words = ("next.yaml", "--enqueue", "by_hand.json", "made", "--enqueue", "runs/tiny")
    nas("search", *words, at=tmp_path)

    wanted = {*hashes([OUTSIDE, INSIDE]), *(trial.hash for trial in front)}
    done = {path.stem for path in (tmp_path / "runs/next/evaluations").iterdir()}
    assert done == wanted
    said = nas("search", "next.yaml", "by_hand.json", at=tmp_path, code=2)
    assert "a search has one run file, got by_hand.json too" in said


def test_what_cannot_be_enqueued_is_told_before_anything_is_written(tmp_path: Path) -> None:
    coloured = sample(space_for(tiny().config(), 3, 10), Random(0))

    with pytest.raises(UserError, match="images of 3 channels and 10 classes, the data has 1 and"):
        run_search(tiny(), tmp_path, enqueue=[coloured])
    with pytest.raises(UserError, match="it is no run, and has no architecture file"):
        read_architectures([tmp_path])

    assert list(tmp_path.iterdir()) == []
    assert fitted(SPACE, [Architecture("x", (), INSIDE.graph)])[0].genes == INSIDE.genes
