"""Step ``archive``: the last network that kept its accuracy as one small file."""

import re
from dataclasses import dataclass
from typing import ClassVar

from nas.compression.workbench import LayerNote, Made, Workbench
from nas.models.archives.forms import Entropy
from nas.models.archives.info import ArchiveInfo, archive_info
from nas.models.given.reading import SUFFIX
from nas.problem.formatting import percent, scaled
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive as ``nas export --formats archive`` writes it, read again and compared.

    Attributes:
        entropy: What codes its symbols: "ans" is smaller, "huffman" the paper's.
        file: What it is called in the run's folder.
    """

    entropy: Entropy = "ans"
    file: str = f"model{SUFFIX}"
    name: ClassVar[str] = "archive"
    compresses: ClassVar[bool] = False
    holds_accuracy: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not re.fullmatch(rf"\w[\w.-]{{0,99}}{re.escape(SUFFIX)}", self.file):
            raise UserError(
                f"file must be a name of letters, digits, '_', '-' and '.' that ends with "
                f"{SUFFIX}, got {self.file[:40]!r}"
            )

    def run(self, model: Model, bench: Workbench) -> Made:
        if bench.is_rehearsal:
            return Made(model, f"{self.file}, coded by {self.entropy}")
        found = archive_info(bench.archive(model, self.entropy, self.file))
        figures = {"file": self.file, "archive_bytes": found.total_bytes, "ratio": found.ratio}
        summary = f"{self.file} {described(found)}"
        return Made(model, summary, layer_notes(found), figures=figures)


def described(found: ArchiveInfo) -> str:
    """Returns how small an archive is, in words."""
    return (
        f"{scaled(found.total_bytes, 'B')}, {found.ratio:.1f}x less than float32, "
        f"{found.bits_a_weight:.2f} bits a weight"
    )


def layer_notes(found: ArchiveInfo) -> tuple[LayerNote, ...]:
    """Returns for each layer what of its weights is kept, and what they take."""
    return tuple(
        LayerNote(
            row.name.removesuffix(".weight"),
            f"{percent(row.density)} of the weights kept, {scaled(row.size_bytes, 'B')}, "
            f"{8 * row.size_bytes / row.weights:.2f} bits a weight",
        )
        for row in found.arrays
        if row.name.endswith(".weight")
    )
