"""Spaces to profile: of a run file with its data's shape, or of a file that is a space alone."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.evaluation.drawing import drawing, read_space
from nas.problem import yaml_text
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.operators import Linear
from search_spaces.space.staged import count_architectures
from tests.nas.parts.tiny import SPACE, tiny

ROOT = Path(__file__).parents[3]


def written(folder: Path, data: object, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(yaml_text.dump(data))
    return path


def run_file(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return tiny(**changes).model_dump(mode="json", exclude_unset=True)


def test_a_file_that_is_a_space_is_one_of_colour_images(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, SPACE), None, None)

    assert (space.name, space.in_channels, space.num_classes) == ("small", 3, 10)
    assert count_architectures(space) == 180
    assert read_space(written(tmp_path, SPACE), 1, 100).in_channels == 1
    assert read_space(written(tmp_path, SPACE), 1, 100).num_classes == 100


def test_a_run_file_has_the_shape_of_its_data(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, run_file()), None, None)

    assert (space.in_channels, space.num_classes) == (1, 10)
    assert count_architectures(space) == 180
    asked = read_space(written(tmp_path, run_file()), 3, 7)
    assert (asked.in_channels, asked.num_classes) == (3, 7)
    assert read_space(written(tmp_path, run_file()), None, 7).in_channels == 1


def test_data_that_is_not_there_is_not_needed_where_its_shape_is_given(tmp_path: Path) -> None:
    data = run_file(data={"kind": "npz", "path": str(tmp_path / "none.npz")})
    del data["data"]["train"], data["data"]["validation"], data["data"]["test"]
    path = written(tmp_path, data)

    assert read_space(path, 3, 10).num_classes == 10
    with pytest.raises(UserError, match=r"none\.npz"):
        read_space(path, None, None)


@pytest.mark.parametrize("name", ["digits.yaml", "digits_mixed.yaml"])
def test_the_examples_can_be_profiled(name: str) -> None:
    space = read_space(ROOT / "examples" / name, None, None)
    assert (space.in_channels, space.num_classes) == (1, 10)


def test_networks_are_drawn_by_the_given_random_numbers(tmp_path: Path) -> None:
    draw = drawing(read_space(written(tmp_path, SPACE), 3, 7))

    graphs = [draw(Random(seed)) for seed in range(20)]

    assert draw(Random(3)) == graphs[3]
    assert len(set(graphs)) > 5
    for graph in graphs:
        assert graph.input_shape == (3, 8, 8)
        assert graph.nodes[-1].operator == Linear(7)


BAD: dict[str, tuple[object, str]] = {
    "unknown field": (SPACE | {"depths": 3}, "depths"),
    "no stage": (SPACE | {"stages": []}, "stages"),
    "no space": ({"name": "x"}, "name"),
    "unknown block": ({"resolution": 8, "stages": [{"depth": 1, "width": 8, "blocks": "cube"}]},
                      "cube"),
    "space of a run": ({"space": SPACE | {"resolution": "large"}}, "resolution"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_told_with_the_file(what: str, tmp_path: Path) -> None:
    data, part = BAD[what]
    with pytest.raises(UserError) as caught:
        read_space(written(tmp_path, data), None, None)
    assert "small.yaml" in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words", "a: [", "\x00"])
def test_what_is_no_mapping_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"odd\.yaml"):
        read_space(path, None, None)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml"):
        read_space(tmp_path / "none.yaml", None, None)
