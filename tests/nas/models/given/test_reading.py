"""One door: a folder, an export and an archive are the same to whoever asks for a network."""

from pathlib import Path

import pytest

import nas
from nas.models.archives.archive import write_archive
from nas.models.folder import fingerprint
from nas.models.given.reading import is_archive, is_one_model, read_architecture, read_model
from search_spaces.graphs.errors import UserError
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture
from tests.nas.parts.models import small_folder, small_model


def test_a_folder_and_its_archive_are_the_same_network(tmp_path: Path) -> None:
    write_archive(tmp_path / "m.hwz", small_model())
    small_folder(tmp_path / "m")
    folder, archive = (read_model(tmp_path / name) for name in ("m", "m.hwz"))

    assert fingerprint(folder.model) == fingerprint(archive.model)
    assert (archive.name, archive.input, archive.class_names) == (
        *(folder.name, folder.input, folder.class_names),
    )
    assert read_architecture(tmp_path / "m.hwz") == read_architecture(tmp_path / "m")
    assert fingerprint(nas.read_model(tmp_path / "m.hwz").model) == fingerprint(folder.model)


def test_an_archive_is_known_by_its_start_whatever_it_is_called(tmp_path: Path) -> None:
    write_archive(tmp_path / "m.bin", small_model())

    assert is_archive(tmp_path / "m.bin")
    assert is_one_model(tmp_path / "m.bin")
    assert read_model(tmp_path / "m.bin").name == "small"
    assert read_architecture(tmp_path / "m.bin").space == "small"


def test_architecture_files_and_folders_of_any_name_stay_what_they_are(tmp_path: Path) -> None:
    graph = small_model().model.graph
    save_architecture(Architecture("alone", (), graph), tmp_path / "a.json")
    small_folder(tmp_path / "folder.hwz")

    assert not is_archive(tmp_path / "a.json")
    assert not is_one_model(tmp_path / "a.json")
    assert read_architecture(tmp_path / "a.json").space == "alone"
    assert not is_archive(tmp_path / "folder.hwz")
    assert read_model(tmp_path / "folder.hwz").name == "small"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", b"an ONNX file", "must be a model folder or an archive .*nas import"),
        ("model.hwz", b"", "model.hwz"),
        ("model.hwz", b"no archive", "model.hwz"),
        ("gone.hwz", None, "gone.hwz"),
        ("gone", None, "must be a model folder, .*, got nothing"),
    ],
)
def test_what_is_no_network_is_one_line_that_names_it(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UserError, match=message) as caught:
        read_model(tmp_path / name)

    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_one_line(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.hwz"
    write_archive(path, small_model())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    for read in (read_model, read_architecture):
        with pytest.raises(UserError, match=r"m\.hwz") as caught:
            read(path)
        assert "\n" not in str(caught.value)
