"""Archive: a trained network as one file of few bytes, ``.hwz``, and back, bit for bit.

A file that was changed, cut off or made up ends in one line: checksums are held first, every
length against what is left of the file, and every size against the shapes of the graph, which may
not be larger than the file and this machine's memory bear out.
"""

import json
from collections.abc import Iterator
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

from nas.models.archives.container import Archive, NoArchiveError, Section, file_bytes
from nas.models.archives.forms import (
    Entropy,
    KeptArray,
    coded_nodes,
    model_of,
    read_section,
    section_of,
)
from nas.models.archives.paper_form import IndexBits
from nas.models.folder import ModelInput, StoredModel, check_numbers
from nas.models.metadata import check_name
from nas.nn.memory import free_bytes
from nas.runs.files import write_whole
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.schema import parse_json, read_as
from search_spaces.quantization.codes import check_steps
from search_spaces.space.architecture import read_graph, to_json
from search_spaces.space.space import Architecture

FLOAT_BYTES = 4
# Numbers that an archive of no size may hold, and more for each of its bytes.
LEAST_NUMBERS, NUMBERS_A_BYTE = 1 << 22, 1 << 10
REMEDY = "copy it again from where it came, or write it again with what made it"


def archive_bytes(
    stored: StoredModel, entropy: Entropy = "ans", index_bits: IndexBits | None = None
) -> bytes:
    """Returns a network as an archive.

    Args:
        entropy: ``huffman`` as the paper does it, ``ans`` for the smaller context coder.
        index_bits: Width of relative indices, which only ``huffman`` has.

    Raises:
        UserError: If an array has a number that is none, or nearly all weights are zero.
    """
    model = stored.model
    check_numbers(model)
    nodes, bits = coded_nodes(model.graph), index_bits or IndexBits()
    sections = [
        section_of(model, name, nodes.get(name), entropy, bits)
        for name in model.graph.array_shapes()
    ]
    content = file_bytes(head_text(stored).encode(), sections)
    check_size(model.graph, len(content))
    return content


def write_archive(path: Path, stored: StoredModel, entropy: Entropy = "ans") -> None:
    """Writes an archive, whole or not at all.

    Raises:
        UserError: See ``archive_bytes``; or if the disk is full.
    """
    write_whole(path, archive_bytes(stored, entropy))


def read_archive(path: Path) -> StoredModel:
    """Returns the network of an archive, its arrays bit for bit as they were written.

    Raises:
        UserError: If it cannot be read, is no archive, of another version, or damaged.
    """
    return read_content(path, path_content(path))


def path_content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read archive {path}: {error.strerror}") from None


def read_content(path: Path, content: bytes) -> StoredModel:
    """Returns the network of an archive's bytes; ``path`` is what messages call it."""
    try:
        archive = Archive(content)
        head = read_head(archive.head)
        kept = {name: array for name, _, array in kept_arrays(archive, head["graph"])}
        model = model_of(head.pop("graph"), kept)
        check_steps(model)
        check_numbers(model)
        return StoredModel(model=model, **head)
    except UserError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: UserError) -> UserError:
    if isinstance(error, NoArchiveError):
        return UserError(f"{path} {error}")
    return UserError(f"{path} is no whole archive ({error}); {REMEDY}")


def kept_arrays(archive: Archive, graph: Graph) -> Iterator[tuple[str, Section, KeptArray]]:
    """Yields every array of an archive in the order of its graph: name, section, what it holds.

    Raises:
        UserError: If the graph's arrays are more than such a file can hold, or one is damaged.
    """
    check_size(graph, len(archive.cursor.data))
    check_memory(graph)
    nodes, shapes = coded_nodes(graph), graph.array_shapes()
    sections = [archive.section(name) for name in shapes]  # all checksums before the first number
    archive.end()
    for section, (name, shape) in zip(sections, shapes.items(), strict=True):
        yield name, section, read_section(section, name, shape, nodes.get(name))


def check_size(graph: Graph, size: int) -> None:
    """Raises:
    UserError: If a graph's arrays are so large that an archive of ``size`` bytes is a bomb.
    """
    most = LEAST_NUMBERS + NUMBERS_A_BYTE * size
    if (count := num_numbers(graph)) > most:
        raise UserError(
            f"the graph's arrays hold {count} numbers, an archive of {size} bytes may hold {most};"
            " nearly all of its weights are zero"
        )


def check_memory(graph: Graph) -> None:
    needed, free = FLOAT_BYTES * num_numbers(graph), free_bytes()
    if needed > free:
        raise UserError(f"its arrays take {needed} bytes of memory, {free} are free")


def num_numbers(graph: Graph) -> int:
    return sum(map(prod, graph.array_shapes().values()))


def head_text(stored: StoredModel) -> str:
    """Returns what an archive says beside its arrays, as JSON without spaces.

    Raises:
        UserError: If the source holds what JSON does not have.
    """
    known = stored.input
    default = ModelInput()
    data = {
        "name": stored.name,
        "graph": to_json(Architecture(stored.name, (), stored.model.graph))["graph"],
        "input": {
            item.name: value
            for item in fields(known)
            if (value := getattr(known, item.name)) != getattr(default, item.name)
        },
        "class_names": stored.class_names,
        "source": dict(stored.source),
    }
    try:
        return json.dumps(data, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{stored.name}: its source must be JSON data: {error}") from None


def read_head(text: bytes) -> dict[str, Any]:
    """Returns the fields of a `StoredModel`, and its graph in place of the model.

    Raises:
        UserError: If one is missing or wrong, or the graph is not valid.
    """
    try:
        data = read_as(dict[str, Any], parse_json(text.decode()), "the head")
    except UserError:
        raise
    except ValueError as error:  # no UTF-8 or no JSON
        raise UserError(f"its head is not JSON: {error}") from None
    kinds: dict[str, Any] = {
        "name": str,
        "graph": dict[str, Any],
        "input": ModelInput,
        "class_names": tuple[str, ...] | None,
        "source": dict[str, Any],
    }
    if missing := sorted(kinds.keys() - data.keys()):
        raise UserError(f"its head lacks {missing[0]!r}")
    found = {key: read_as(kind, data[key], key) for key, kind in kinds.items()}
    check_name(found["name"])
    return found | {"graph": read_graph(found["graph"])}
