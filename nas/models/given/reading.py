"""Reading: the door for a trained network that people name by a path.

To whoever asks a model folder, an export and an archive are the same: one file stands for a folder
that holds three.
"""

from pathlib import Path

from nas.models import folder
from nas.models.archives.archive import read_archive
from nas.models.archives.container import MAGIC
from nas.models.folder import StoredModel
from nas.models.metadata import is_model_folder
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import Architecture

SUFFIX = ".hwz"  # of the names of archives


def read_model(path: Path) -> StoredModel:
    """Returns the network of a model folder, an export with the torch format, or an archive.

    Raises:
        UserError: If it is none of them, or damaged.
    """
    if not path.is_file():
        return folder.read_model(path)
    if not is_archive(path):
        raise UserError(
            f"{path} must be a model folder or an archive (*{SUFFIX}), got another file; of an "
            f"ONNX file make a folder with 'nas import {path} --to FOLDER'"
        )
    return read_archive(path)


def read_architecture(path: Path) -> Architecture:
    """Returns the architecture of a file, a model folder, an export or an archive.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    if not is_archive(path):
        return folder.read_architecture(path)
    stored = read_archive(path)
    return Architecture(stored.name, (), stored.model.graph)


def is_one_model(path: Path) -> bool:
    """Whether ``path`` is meant as one model: a folder, an export or an archive, whole or not."""
    return is_archive(path) or is_model_folder(path)


def is_archive(path: Path) -> bool:
    """Whether a file is meant as an archive: by its name, or, called otherwise, by its start."""
    if not path.is_file():
        return False
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
