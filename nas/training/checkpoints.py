"""Checkpoints: where the states of trainings that go on are kept, by the hash of the network."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.runs.files import write_whole
from search_spaces.graphs.errors import UserError

KEY = re.compile(r"[0-9a-f]{8,64}")


class Checkpoints(Protocol):
    """Keeps one file a candidate."""

    def load(self, key: str) -> bytes | None:
        """Returns what was saved last; None where nothing is kept."""
        ...

    def save(self, key: str, content: bytes) -> None:
        """Keeps ``content`` instead of what was kept before.

        Raises:
            DiskFullError: If there is no room; what was kept before stays.
        """
        ...

    def drop(self, key: str) -> None:
        """Keeps nothing any more; nothing happens where nothing was kept."""
        ...


@dataclass(frozen=True, slots=True)
class FolderCheckpoints:
    """Checkpoints as the files ``KEY.safetensors`` of a folder, whole or not there at all."""

    folder: Path

    def load(self, key: str) -> bytes | None:
        try:
            return self.file(key).read_bytes()
        except FileNotFoundError:
            return None

    def save(self, key: str, content: bytes) -> None:
        write_whole(self.file(key), content)

    def drop(self, key: str) -> None:
        self.file(key).unlink(missing_ok=True)

    def file(self, key: str) -> Path:
        """Returns where the checkpoint of ``key`` is, or would be.

        Raises:
            UserError: If ``key`` is no hash; it might lead out of the folder.
        """
        if not KEY.fullmatch(key):
            raise UserError(
                f"a checkpoint's key must be the hash of a network (hex digits), got "
                f"{key[:40]!r}; give its graph_hash"
            )
        return self.folder / f"{key}.safetensors"
