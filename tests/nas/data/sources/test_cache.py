"""Pixels are decoded once, shared, bounded; nothing about the files may change unseen."""

import os
import subprocess
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data.picture import read_picture
from nas.data.sources import decode
from nas.data.sources.cache import PIXELS, clear, entries, images_folder
from nas.data.sources.registry import load, make_source
from search_spaces.graphs.errors import UserError
from tests.nas.parts.pictures import encoded, image_folder, picture


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_IMAGES", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was decoded so far."""
    seen: list[object] = []
    read = read_picture

    def counting(file: Path | bytes, *how: object) -> object:
        seen.append(file)
        return read(file, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "read_picture", counting)
    return seen


def pixels(root: Path, **settings: object) -> NDArray[np.uint8]:
    return load(make_source("folder", path=str(root), **settings)).data.pixels


def test_images_are_decoded_once_and_then_mapped(tmp_path: Path, decoded: list[object]) -> None:
    image_folder(tmp_path / "a")

    first, second = pixels(tmp_path / "a"), pixels(tmp_path / "a")

    assert len(decoded) == 6
    assert np.array_equal(first, second)
    base = second if second.base is None else second.base
    assert isinstance(base, np.memmap) or isinstance(getattr(base, "base", None), np.memmap)


def test_what_is_written_into_the_pixels_stays_in_the_process(tmp_path: Path) -> None:
    image_folder(tmp_path / "a")
    first = pixels(tmp_path / "a")
    before = first.copy()

    first[...] = 0

    assert np.array_equal(pixels(tmp_path / "a"), before)


def test_other_files_dates_sizes_or_settings_decode_anew(
    tmp_path: Path, decoded: list[object]
) -> None:
    root = image_folder(tmp_path / "a")
    pixels(root)
    changes: list[Callable[[], object]] = [
        lambda: picture(99).save(root / "cat" / "new.png"),
        lambda: picture(98).save(root / "cat" / "0.png"),
        lambda: os.utime(root / "cat" / "1.png"),
    ]

    for change in changes:
        decoded.clear()
        change()
        assert len(pixels(root)) == len(decoded)
    for settings in ({"channels": 1}, {"resolution": (3, 3)}, {"background": "black"}):
        decoded.clear()
        assert len(pixels(root, **settings)) == len(decoded)


def test_a_damaged_entry_is_made_anew(folder: Path, tmp_path: Path, decoded: list[object]) -> None:
    image_folder(tmp_path / "a")
    before = pixels(tmp_path / "a").copy()
    (entry,) = entries(folder)
    for damage in (
        lambda: os.truncate(entry.path / PIXELS, 100),
        lambda: (entry.path / "about.json").write_text("{"),
        lambda: (entry.path / PIXELS).unlink(),
    ):
        decoded.clear()
        damage()
        assert np.array_equal(pixels(tmp_path / "a"), before)
        assert len(decoded) == 6


def test_broken_images_leave_nothing_behind(folder: Path, tmp_path: Path) -> None:
    image_folder(tmp_path / "a")
    (tmp_path / "a" / "cat" / "0.png").write_bytes(encoded(picture(0, (40, 40)))[:-200])

    with pytest.raises(UserError, match="1 of 6 images cannot be read"):
        pixels(tmp_path / "a", resolution=(4, 4))

    assert list(folder.iterdir()) == []


def test_what_was_used_longest_ago_goes_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [image_folder(tmp_path / name, each=40) for name in "abc"]
    for age, root in enumerate(roots[:2]):
        pixels(root)
        os.utime(entries(folder)[0].path, (age + 1, age + 1))
    pixels(roots[0])  # used again
    size = entries(folder)[0].num_bytes
    monkeypatch.setenv("HWNAS_IMAGES_GIB", str(2.5 * size / 2**30))

    pixels(roots[2])

    assert {entry.name for entry in entries(folder)} == {"a", "c"}
    assert clear(folder) == 2 * size
    assert entries(folder) == []


@pytest.mark.parametrize("why", ["limit", "read-only"])
def test_what_cannot_be_kept_is_decoded_into_memory_and_said(
    why: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(tmp_path / "a")
    if why == "limit":
        monkeypatch.setenv("HWNAS_IMAGES_GIB", "0")
    else:
        folder.write_text("a file where the folder should be")

    loaded = load(make_source("folder", path=str(tmp_path / "a")))

    assert len(loaded.data) == 6
    assert "a: decoded anew by every command, its pixels not kept (" in loaded.notes[0]


@pytest.mark.parametrize("why", ["read-only", "full", "full once the file has its head"])
def test_a_folder_on_a_disk_that_takes_nothing_keeps_nobody_from_working(
    why: str, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has 160 KiB, which are the pixels of 40 images of 64 x 64 in grey."""
    kept = small_disk / "images"
    kept.mkdir()
    monkeypatch.setenv("HWNAS_IMAGES", str(kept))
    each = 21 if why == "full" else 20
    root = image_folder(tmp_path / "a", each=each, sizes=((64, 64),))
    if why == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    loaded = load(make_source("folder", path=str(root), channels=1))

    assert len(loaded.data) == 2 * each
    assert loaded.data.pixels.any()
    said = {
        "read-only": f"pixels not kept ({kept} cannot be written)",
        "full": f"pixels not kept ({kept} has 0.0 GiB free)",
        "full once the file has its head": f"pixels not kept ({kept}: No space left on device)",
    }
    assert any(said[why] in note for note in loaded.notes)
    assert [path for path in kept.iterdir() if path.suffix != ".lock"] == []


def test_what_others_keep_in_a_folder_that_may_only_be_read_is_used(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[object]
) -> None:
    monkeypatch.setenv("HWNAS_IMAGES", str(small_disk / "images"))
    root = image_folder(tmp_path / "a")
    before = pixels(root).copy()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    decoded.clear()

    assert np.array_equal(pixels(root), before)
    assert decoded == []


def test_a_limit_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_IMAGES_GIB", "much")

    with pytest.raises(UserError, match="HWNAS_IMAGES_GIB must be a number of GiB, got 'much'"):
        pixels(image_folder(tmp_path / "a"))


def read_in_child(root: str, queue: object) -> None:
    queue.put(int(pixels(Path(root)).sum()))  # type: ignore[attr-defined]


def test_processes_that_start_at_once_make_one_entry(folder: Path, tmp_path: Path) -> None:
    root = image_folder(tmp_path / "a", each=30)
    fork = get_context("fork")
    queue = fork.Queue()
    children = [fork.Process(target=read_in_child, args=(str(root), queue)) for _ in range(3)]

    for child in children:
        child.start()
    sums = {queue.get(timeout=120) for _ in children}
    for child in children:
        child.join()

    assert sums == {int(pixels(root).sum())}
    assert len(entries(folder)) == 1
    assert [path.name for path in folder.iterdir()] == [entries(folder)[0].path.name]


def test_the_folder_is_in_the_cache_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HWNAS_IMAGES")
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))

    assert images_folder() == tmp_path / "images"
