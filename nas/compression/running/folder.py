"""Folder of a compression: what ``nas compress`` writes, whole or not at all, and goes on from.

compression.json     what it is: command, machine, versions, the network and the data it saw
recipe.yaml          the recipe, every default written out
original/            the network that it began with, a model folder
steps/NN-NAME/       the network after a step, a model folder; steps/NN-NAME.json what is known
checkpoints/         of the training under way
result/              the network it ends with, a model folder
export/              its files, where the recipe has the step
model.hwz            it as an archive, where the recipe has the step
summary.json, report.html
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.compression.running.records import StepRecord, from_json, to_json
from nas.models.given.reading import SUFFIX
from nas.problem.addresses import argument
from nas.runs.files import read_json, write_json, write_whole
from nas.runs.provenance import machine, versions
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

FORMAT = "hwnas.compression"
VERSION = 1
BEGUN = "original"  # what the record of the network is called that a recipe begins with
KINDS: Mapping[str, Any] = {
    "started": str,
    "command": str,
    "model": str,
    "model_fingerprint": str,
    "data": Mapping[str, Any],
    "recipe": Mapping[str, Any],
    "machine": Mapping[str, Any],
    "versions": Mapping[str, Any],
}


@dataclass(frozen=True, slots=True)
class CompressionFolder:
    """Where everything of one compression is."""

    path: Path

    @property
    def about_file(self) -> Path:
        return self.path / "compression.json"

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def original(self) -> Path:
        return self.path / "original"

    @property
    def result(self) -> Path:
        return self.path / "result"

    @property
    def export(self) -> Path:
        return self.path / "export"

    @property
    def archives(self) -> tuple[Path, ...]:
        """The files of the steps ``archive`` that are over."""
        return tuple(sorted(self.path.glob(f"*{SUFFIX}")))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def model_of(self, number: int, name: str) -> Path:
        """Returns where the network after a step is, or would be; 0 is the original."""
        return self.original if number == 0 else self.path / "steps" / f"{number:02d}-{name}"

    def record_file(self, number: int, name: str) -> Path:
        return self.path / "steps" / f"{number:02d}-{name}.json"

    def save_record(self, record: StepRecord) -> None:
        write_json(self.record_file(record.number, record.name), to_json(record))

    def load_record(self, number: int, name: str) -> StepRecord | None:
        """Returns what is known of a step; None where it is not over.

        Raises:
            UserError: If the file is damaged.
        """
        path = self.record_file(number, name)
        remedy = "delete it and go on with --resume, which runs that step again"
        try:
            data = read_json(path, remedy)
        except FileNotFoundError:
            return None
        try:
            return from_json(data)
        except UserError as error:
            raise UserError(f"{path} is damaged ({error}); {remedy}") from None

    def about(self) -> dict[str, Any]:
        """Returns what compression.json says.

        Raises:
            UserError: If there is none, it is damaged, or of another version.
        """
        remedy = "compress again, into another folder"
        try:
            data = read_json(self.about_file, remedy, KINDS)
        except OSError:
            raise UserError(
                f"{self.path} holds no compression (no {self.about_file.name} there); give the "
                "folder that 'nas compress' made, e.g. runs/digits_small"
            ) from None
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            raise UserError(
                f"{self.path} is of format {shown(data.get('format'))} version "
                f"{shown(data.get('version'))}; this hwnas reads {FORMAT!r} version {VERSION}"
            )
        if missing := [key for key in KINDS if key not in data]:
            raise UserError(f"{self.about_file} is damaged (it lacks {missing[0]}); {remedy}")
        return data

    def begin(self, recipe_yaml: str, about: Mapping[str, Any]) -> None:
        """Writes what the compression is; from then on it is resumed."""
        write_whole(self.recipe_file, recipe_yaml.encode())
        write_json(
            self.about_file,
            {
                "format": FORMAT,
                "version": VERSION,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": shlex.join(map(argument, [Path(sys.argv[0]).name, *sys.argv[1:]])),
                "machine": machine(),
                "versions": versions(),
                **about,
            },
        )


def has_compression(path: Path) -> bool:
    """Whether a compression was begun here."""
    return (path / "compression.json").is_file()
