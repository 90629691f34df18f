"""``nas data``: what is in a data set is said before a search sees it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.sources import decode
from nas.problem.run_file import read_run_file
from tests.nas.parts.command_line import nas
from tests.nas.parts.pictures import encoded, image_folder, picture

SPACE = """
name: t
space:
  resolution: 16
  stem: {width: 8, stride: 2}
  stages: [{depth: 1, width: [8, 16], stride: 2, blocks: [plain]}]
objectives: [accuracy, macs]
"""


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_IMAGES", str(tmp_path / "kept"))


def test_a_folder_is_counted_and_the_lines_that_are_printed_are_a_run_file(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "photos", each=20)
    turn = Image.Exif()
    turn[0x0112] = 6
    picture(99, (40, 30)).save(root / "cat" / "turned.jpg", exif=turn)
    (root / "cat" / "notes.txt").write_text("no image")

    said = nas("data", "check", "photos", at=tmp_path)

    assert "photos: 41 pictures of 6x5 to 30x40 (2 sizes); 41 RGB, 1 turned by" in said
    assert "left out: files that are no images (1)" in said
    assert [line.split() for line in said.splitlines() if line.startswith("cat")] == [
        ["cat", "13", "4", "4", "21"]
    ]
    lines = said[said.index("for a run file:") :].splitlines()[1:]
    (tmp_path / "t.yaml").write_text("\n".join(line[2:] for line in lines) + SPACE)
    config = read_run_file(tmp_path / "t.yaml").config().data
    assert config.settings["path"] == str(root)
    assert config.settings["resolution"] == (16, 16)
    assert nas("data", "check", "t.yaml", at=tmp_path).startswith("photos: 41 pictures")


def test_what_makes_accuracies_doubtful_is_said(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "photos", each=10)
    for index in range(3):
        picture(7).save(root / "cat" / f"same{index}.png")
        picture(7).save(root / "dog" / f"same{index}.png")
        Image.new("RGB", (5, 6), "navy").save(root / "dog" / f"night{index}.png")

    said = nas("data", "check", "photos", at=tmp_path)

    assert "images are in two splits, which flatters accuracy: " in said
    assert "images are in two classes: " in said
    assert "photos: 3 images are nearly of one colour: " in said
    assert "photos: 8 images repeat an earlier one" in said


def test_a_rare_class_is_said_with_what_to_search_for(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 6, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=(np.arange(300) < 12).astype(int))

    said = nas("data", "check", "a.npz", at=tmp_path)

    assert "less than a tenth of the largest class's images: 1; to answer that class" in said
    assert "right in 96.00 %" in said
    assert "objectives: [balanced_accuracy, latency_ms]" in said


def test_settings_may_be_given_and_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    image_folder(tmp_path / "photos", each=10)

    said = nas("data", "check", "photos", "--set", "channels=1", "--set", "test=4", at=tmp_path)

    assert "decoded to 1x6x5 each" in said
    assert "channels: 1" in said
    wrong = nas("data", "check", "photos", "--set", "chanels=1", at=tmp_path, code=2)
    assert wrong.strip().splitlines() == [
        "error: data kind 'folder' has no setting 'chanels'; did you mean 'channels'?"
    ]


def test_all_broken_images_are_one_line(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "photos")
    for name in ("a.png", "b.jpg"):
        (root / "cat" / name).write_bytes(b"broken")
    (root / "dog" / "c.png").write_bytes(encoded(picture(0, (40, 40)))[:-200])

    said = nas("data", "check", "photos", at=tmp_path, code=2)

    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert line.startswith("error: photos: 3 of 9 images cannot be read: ")
    assert line.count("photos/") == 3


def test_a_space_is_shown_without_a_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_folder(tmp_path / "photos", ("cat", "cow", "dog"))
    (tmp_path / "t.yaml").write_text(f"data: {{kind: folder, path: photos}}\n{SPACE}")
    monkeypatch.setattr(decode, "read_picture", None)
    monkeypatch.setattr(decode, "look", None)

    assert "architectures" in nas("space", "show", "t.yaml", at=tmp_path)


def test_the_cache_is_listed_and_cleared(tmp_path: Path) -> None:
    image_folder(tmp_path / "photos", each=10)
    nas("data", "check", "photos", at=tmp_path)

    said = nas("data", "cache", at=tmp_path)

    assert [line.split()[:3] for line in said.splitlines()[1:2]] == [["photos", "20", "3x6x5"]]
    assert f"of at most 21.5 GB in {tmp_path / 'kept'}" in said
    assert "removed" in nas("data", "cache", "--clear", at=tmp_path)
    assert "0 B of at most" in nas("data", "cache", at=tmp_path)


def test_names_are_printed_where_the_locale_has_no_letters_for_them(tmp_path: Path) -> None:
    image_folder(tmp_path / "photos", ("caf\u00e9", "tea"), each=10)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "nas", "data", "check", str(tmp_path / "photos")]
    root = Path(__file__).parents[3]

    done = subprocess.run(command, cwd=root, env={**os.environ, **plain}, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert rb"caf\xe9" in done.stdout
