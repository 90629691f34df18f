"""Info: what an archive spends on each array, as the tables of the paper have it.

*Source:* Han et al., "Deep Compression", ICLR 2016, https://arxiv.org/abs/1510.00149, tables 2
to 5: weights kept (P), bits of a weight and of an index before (P+Q) and after coding (P+Q+H),
and the size against float32."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from nas.models.archives.archive import (
    FLOAT_BYTES,
    kept_arrays,
    path_content,
    read_head,
    unreadable,
)
from nas.models.archives.container import Archive, Section
from nas.models.archives.forms import ArrayForm, KeptArray, Shape
from search_spaces.graphs.errors import UserError

FLOAT_BITS = 8 * FLOAT_BYTES


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What one array takes.

    Attributes:
        name: As in the graph: ``<node>.<array>``.
        form: How it is kept; see docs/archives.md.
        kept: Weights that are not zero.
        entries: Values in the file: those kept, and filler zeros of relative indices.
        value_bits: Of a value before it is coded: what tells the different ones apart; 32 of
            float32.
        coded_value_bits: Of a value in the file, on average over entries.
        index_bits: Of an index before it is coded; None where there are no indices.
        coded_index_bits: Of an index, or of where a value is, in the file, likewise.
        table_bytes: Of codebooks, scales and tables.
        size_bytes: All that the array takes in the file.
    """

    name: str
    shape: Shape
    form: str
    kept: int
    entries: int
    value_bits: int
    coded_value_bits: float
    index_bits: int | None
    coded_index_bits: float
    table_bytes: int
    size_bytes: int

    @property
    def weights(self) -> int:
        return prod(self.shape)

    @property
    def density(self) -> float:
        """The share of weights that are kept."""
        return self.kept / max(self.weights, 1)

    @property
    def ratio(self) -> float:
        """How many times smaller than float32 it is."""
        return FLOAT_BYTES * self.weights / self.size_bytes


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """What an archive takes.

    Attributes:
        head_bytes: Of the start and the head: the graph and what is known of the network.
        total_bytes: Of the file.
    """

    name: str
    arrays: tuple[ArrayInfo, ...]
    head_bytes: int
    total_bytes: int

    @property
    def weights(self) -> int:
        return sum(array.weights for array in self.arrays)

    @property
    def kept(self) -> int:
        return sum(array.kept for array in self.arrays)

    @property
    def density(self) -> float:
        """The share of weights that are kept."""
        return self.kept / max(self.weights, 1)

    @property
    def bits_a_weight(self) -> float:
        """All bytes of the file counted."""
        return 8 * self.total_bytes / max(self.weights, 1)

    @property
    def float_bytes(self) -> int:
        """Of all arrays as float32, and nothing else."""
        return FLOAT_BYTES * self.weights

    @property
    def ratio(self) -> float:
        """How many times smaller than float32 the file is, all of its bytes counted."""
        return self.float_bytes / self.total_bytes


def archive_info(path: Path) -> ArchiveInfo:
    """Returns what an archive takes, array by array.

    Raises:
        UserError: If it is no archive, or damaged.
    """
    content = path_content(path)
    try:
        archive = Archive(content)
        head = read_head(archive.head)
        shapes = head["graph"].array_shapes()
        arrays = tuple(
            array_info(name, shapes[name], section, kept)
            for name, section, kept in kept_arrays(archive, head["graph"])
        )
    except UserError as error:
        raise unreadable(path, error) from None
    return ArchiveInfo(head["name"], arrays, archive.head_size, len(content))


def array_info(name: str, shape: Shape, section: Section, kept: KeptArray) -> ArrayInfo:
    """Returns what a section takes for an array of this shape."""
    parts, count = kept.parts, prod(shape)
    form = ArrayForm(section.form).name.lower()
    if parts is None or kept.num_values is None:
        bits = 8 * len(section.body) / max(count, 1)
        plain = (count, FLOAT_BITS, bits, None, 0.0, 0, section.size)
        return ArrayInfo(name, shape, form, kept.kept, *plain)
    entries = max(parts.entries, 1)
    return ArrayInfo(
        name,
        shape,
        form,
        kept.kept,
        parts.entries,
        max(kept.num_values - 1, 1).bit_length(),
        8 * parts.value_bytes / entries,
        parts.index_width or None,
        8 * parts.index_bytes / entries,
        len(section.body) - parts.value_bytes - parts.index_bytes,
        section.size,
    )
