"""Metadata: what the files of a model folder or an export say of it, and that they are whole."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.runs.files import read_json
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import read_as, shown

FORMAT, EXPORT_FORMAT = "hwnas.model", "hwnas.export"
VERSION = 1
LONGEST_NAME = 200
METADATA, ARCHITECTURE, ARRAYS = "metadata.json", "architecture.json", "model.safetensors"
REMEDY = "write it again with what made it"
# What metadata.json says, by format; its "input" is a `ModelInput` and what follows from it.
KINDS: Mapping[str, Mapping[str, Any]] = {
    FORMAT: {
        "name": str,
        "input": Mapping[str, Any],
        "class_names": tuple[str, ...] | None,
        "source": Mapping[str, Any],
        "files": Mapping[str, str],
    },
    EXPORT_FORMAT: {
        "name": str,
        "run": str | None,
        "input": Mapping[str, Any],
        "class_names": tuple[str, ...] | None,
        "weights": Mapping[str, Any],
        "files": Mapping[str, str],
    },
}


def is_model_folder(path: Path) -> bool:
    """Whether ``path`` is meant as one model: a model folder or an export, whole or not."""
    return (path / METADATA).is_file()


def printable(name: str) -> str:
    """Returns a name that a model may have, of whatever a run and its trial are called.

    >>> printable("digits\\x1b[2J knee")
    'digits_[2J knee'
    """
    kept = "".join(letter if letter.isprintable() else "_" for letter in name)
    return kept[:LONGEST_NAME]


def check_name(name: str) -> None:
    """Raises UserError if a model's name is none that a line can show."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise UserError(
            f"a model's name must be 1 to {LONGEST_NAME} printable letters, got {shown(name)}"
        )


def read_metadata(path: Path) -> dict[str, Any]:
    """Returns what metadata.json of a folder says, each value as its format has it."""
    what = "a model folder, as nas import and nas export write"
    if not path.is_dir():
        raise UserError(f"{path} must be {what}, got {'a file' if path.exists() else 'nothing'}")
    if not is_model_folder(path):
        raise UserError(f"{path} must be {what}, but it has no {METADATA}")
    data = read_json(path / METADATA, REMEDY)
    known = data.get("format")
    if not isinstance(known, str) or known not in KINDS or data.get("version") != VERSION:
        raise UserError(
            f"{path} is of format {shown(known)} version {shown(data.get('version'))}; this hwnas "
            f"reads {' and '.join(map(repr, KINDS))} of version {VERSION}"
        )
    kinds = KINDS[known]
    if missing := sorted(kinds.keys() - data.keys()):
        raise damaged(path, f"{METADATA} lacks {missing[0]!r}")
    try:
        check_name(read_as(str, data["name"], "name"))
        return {"format": known} | {key: read_as(kinds[key], data[key], key) for key in kinds}
    except UserError as error:
        raise damaged(path, f"{METADATA}: {error}") from None


def checked_bytes(path: Path, name: str, about: Mapping[str, Any]) -> bytes:
    """Returns a file of a folder.

    Raises:
        UserError: If it is missing, or is not the one that was written.
    """
    if name not in about["files"] and about["format"] == EXPORT_FORMAT:
        raise UserError(
            f"{path} is an export without the network's graph and arrays; export it again with "
            "'torch' among the formats"
        )
    try:
        content = (path / name).read_bytes()
    except FileNotFoundError:
        raise damaged(path, f"{name} is missing") from None
    if sha256(content) != about["files"].get(name):
        raise damaged(path, f"{name} is not the file that was written, by its SHA-256")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged ({why}); {REMEDY}")
