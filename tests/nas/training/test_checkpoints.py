"""Checkpoints in a folder are whole or not there, and never lie outside it."""

import os
from pathlib import Path

import pytest

from nas.runs.files import DiskFullError
from nas.training.checkpoints import FolderCheckpoints
from search_spaces.graphs.errors import UserError

KEY = "0123456789abcdef"


def test_what_was_saved_last_is_loaded_until_it_is_dropped(tmp_path: Path) -> None:
    checkpoints = FolderCheckpoints(tmp_path / "checkpoints")
    assert checkpoints.load(KEY) is None
    checkpoints.drop(KEY)

    checkpoints.save(KEY, b"one")
    checkpoints.save(KEY, b"two")
    assert FolderCheckpoints(tmp_path / "checkpoints").load(KEY) == b"two"
    assert [path.name for path in checkpoints.folder.iterdir()] == [f"{KEY}.safetensors"]

    checkpoints.drop(KEY)
    assert checkpoints.load(KEY) is None


@pytest.mark.parametrize(
    "key", ["", "../0123456789", "/etc/passwd", "ABCDEF0123", "0" * 65, "a\n"]
)
def test_only_hashes_are_keys(key: str, tmp_path: Path) -> None:
    checkpoints = FolderCheckpoints(tmp_path)

    for use in (checkpoints.load, checkpoints.drop, lambda key: checkpoints.save(key, b"")):
        with pytest.raises(UserError, match="must be the hash of a network"):
            use(key)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_saved_before(small_disk: Path) -> None:
    checkpoints = FolderCheckpoints(small_disk)
    checkpoints.save(KEY, b"before")

    with pytest.raises(DiskFullError):
        checkpoints.save(KEY, os.urandom(200_000))

    assert checkpoints.load(KEY) == b"before"
    assert len(list(small_disk.iterdir())) == 1
