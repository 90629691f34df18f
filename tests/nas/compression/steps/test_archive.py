"""Step ``archive``: the last network that kept its accuracy in one file, and what it takes."""

from pathlib import Path
from typing import Any

import pytest

from nas.compression.report.page import write_compression_report
from nas.compression.running.folder import CompressionFolder
from nas.compression.running.recipe import RecipeFile, read_recipe
from nas.models.archives.archive import read_archive
from nas.models.archives.estimate import estimated_bytes
from nas.models.folder import fingerprint, read_model
from nas.runs.files import read_json, write_json
from search_spaces.graphs.errors import UserError
from tests.nas.parts.command_line import nas
from tests.nas.parts.compressions import compressed, network_folder, recipe_file, recipe_of

BOTH = [
    "finetune",
    {"archive": {"entropy": "huffman", "file": "paper.hwz"}},
    "archive",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("model") / "small")


def test_the_archive_is_the_result_and_every_byte_of_it_is_told(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    records = compressed(model, recipe_of(BOTH, digits_file), tmp_path / "run")

    result = read_model(tmp_path / "run" / "result").model
    original, trained, huffman, ans = records
    for record, name in ((huffman, "paper.hwz"), (ans, "model.hwz")):
        place = tmp_path / "run" / name
        size = place.stat().st_size
        assert fingerprint(read_archive(place).model) == fingerprint(result)
        assert record.figures["archive_bytes"] == record.standing.archive_bytes == size
        assert record.standing.is_archived
        assert record.summary.startswith(f"{name} {size / 1000:.2f} kB, ")
        assert not record.made_one
        assert {row.layer for row in record.layers} == {"stem", "first", "second", "logits"}
        floats = sum(4 * array.size for array in result.arrays.values())
        assert record.figures["ratio"] == pytest.approx(floats / size)
    assert trained.standing.archive_bytes == estimated_bytes(result)
    assert not trained.standing.is_archived
    assert not original.standing.is_archived
    assert ans.standing.accuracy == trained.standing.accuracy


def test_what_lost_too_much_is_not_archived(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = [{"prune": {"ratio": 0.8, "multiple": 1}}, "archive"]
    recipe = recipe_of(steps, digits_file, stop={"max_accuracy_drop": 0.0})

    *_, record = compressed(model, recipe, tmp_path / "run")

    kept = read_model(tmp_path / "run" / "result").model
    assert fingerprint(read_archive(tmp_path / "run" / "model.hwz").model) == fingerprint(kept)
    assert record.is_kept


def test_a_recipe_stops_once_the_archive_would_be_small_enough(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    steps = [{"prune": {"ratio": 0.5, "multiple": 1}}, "archive"]
    recipe = recipe_of(steps, digits_file, stop={"until": "archive_bytes <= 1000000"})

    _, pruned, archived = compressed(model, recipe, tmp_path / "run")

    assert pruned.skipped == "archive_bytes <= 1e+06 holds already"
    assert not archived.skipped


def test_a_compression_of_an_archive_is_that_of_its_folder(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    compressed(model, recipe_of(["archive"], digits_file), tmp_path / "first")
    packed = tmp_path / "first" / "model.hwz"
    steps = ["finetune", {"distill": {"teacher": str(packed)}}]

    for given, to in ((model, "a"), (packed, "b")):
        compressed(given, recipe_of(steps, digits_file), tmp_path / to)

    ours, theirs = (read_model(tmp_path / to / "result").model for to in "ab")
    assert fingerprint(ours) == fingerprint(theirs)


def test_the_command_and_the_report_show_sizes_on_disk(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_file(tmp_path / "r.yaml", recipe_of(["archive"], digits_file))

    said = nas("compress", str(model), recipe.name, "--no-measure", "--to", "run", at=tmp_path)

    size = (tmp_path / "run/model.hwz").stat().st_size
    assert "archive: run/model.hwz" in said
    assert f"{size / 1000:.2f} kB" in said
    page = write_compression_report(CompressionFolder(tmp_path / "run")).read_text()
    assert f'<td class="number">{size / 1000:.2f} kB</td>' in page
    assert "x less than float32" in page
    summary = read_json(tmp_path / "run/summary.json")
    assert summary["steps"][-1]["figures"]["archive_bytes"] == size
    assert "model.hwz, coded by ans" in nas(
        *("compress", str(model), recipe.name, "--dry-run", "--to", "other"), at=tmp_path
    )


def test_a_record_of_before_archives_is_read_and_shows_none(
    model: Path, digits_file: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(["finetune"], digits_file)
    compressed(model, recipe, tmp_path / "run")
    for path in (tmp_path / "run/steps").glob("*.json"):
        record = read_json(path)
        del record["standing"]["archive_bytes"], record["standing"]["is_archived"]
        write_json(path, record)

    again = compressed(model, recipe, tmp_path / "run", resume=True)

    assert again[-1].standing.archive_bytes is None
    page = write_compression_report(CompressionFolder(tmp_path / "run")).read_text()
    assert '<td class="number">-</td>' in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entropy": "zip"}, "entropy"),
        ({"file": "../model.hwz"}, "file must be a name of letters"),
        ({"file": "model.zip"}, "that ends with .hwz, got 'model.zip'"),
        ({"file": ""}, "file must be a name of letters"),
    ],
)
def test_settings_that_make_no_archive_are_refused(
    settings: dict[str, Any], message: str, digits_file: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        RecipeFile.model_validate(recipe_of([{"archive": settings}], digits_file))


def test_two_archives_of_one_name_are_refused(digits_file: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"got 'model.hwz' twice; give one of the steps another"):
        RecipeFile.model_validate(recipe_of(["archive", {"archive": {}}], digits_file))


def test_an_archive_whose_network_is_not_that_of_the_data_is_one_line(
    digits_file: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "m.hwz").write_bytes(b"nothing of the kind")

    with pytest.raises(UserError, match=r"m\.hwz"):
        compressed(tmp_path / "m.hwz", recipe_of(["archive"], digits_file), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_example_prunes_shares_and_archives() -> None:
    recipe = read_recipe(Path(__file__).parents[4] / "examples/archive_digits.yaml").recipe()

    names = [step.name for step in recipe.steps]
    assert names == ["train", "prune_weights", "finetune", "share", "finetune", "archive"]
    assert [recipe.steps[place].given["hold"] for place in (2, 4)] == ["zeros", "shared"]
