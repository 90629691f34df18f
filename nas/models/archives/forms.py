"""Forms: the ways in which an array is kept, each giving it back bit for bit.

Few values, of a codebook or a coded layer, are kept in the paper's form or by the context coder,
whichever the archive is written with; any other array as float32. What is smallest is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.models.archives.coding.cursor import Cursor, float_bytes
from nas.models.archives.container import Section
from nas.models.archives.context_form import (
    context_bytes,
    exponent_bytes,
    read_context,
    read_exponents,
)
from nas.models.archives.paper_form import CodedParts, IndexBits, huffman_bytes, read_huffman
from nas.models.archives.sharing import (
    Floats,
    SharedArray,
    codebook_bytes,
    has_scale,
    known_codes,
    read_codebook,
    restored_codes,
    restored_values,
    shared_codes,
    shared_values,
)
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.quantization.codes import is_coded
from search_spaces.quantization.storage import decoded

Entropy = Literal["huffman", "ans"]
Shape = tuple[int, ...]


class ArrayForm(IntEnum):
    """What the first byte of a section says."""

    FLOATS = 0  # float32
    EXPONENTS = 1  # float32, its exponents coded
    CODEBOOK_HUFFMAN = 2
    CODES_HUFFMAN = 3
    CODEBOOK_ANS = 4
    CODES_ANS = 5


OF_CODES = (ArrayForm.CODES_HUFFMAN, ArrayForm.CODES_ANS)
OF_CODEBOOK = (ArrayForm.CODEBOOK_HUFFMAN, ArrayForm.CODEBOOK_ANS)


@dataclass(frozen=True, slots=True)
class KeptArray:
    """An array that was read, and how it was kept.

    Attributes:
        numbers: Float32, or the codes of a coded layer.
        scale: Of such codes (O,), where they are not an array of their own.
        kept: How many numbers are not zero.
        num_values: Different ones beside zero that the form can have; None where any.
        parts: None where nothing is coded.
    """

    form: ArrayForm
    numbers: Floats | NDArray[np.int8]
    scale: Floats | None
    kept: int
    num_values: int | None
    parts: CodedParts | None


def coded_nodes(graph: Graph) -> Mapping[str, Node]:
    """Returns the coded layers of a graph by the names of their weights."""
    return {f"{node.name}.weight": node for node in graph.nodes if is_coded(node)}


def section_of(
    model: Model, name: str, node: Node | None, entropy: Entropy, index_bits: IndexBits
) -> Section:
    """Returns an array of a model in its smallest form.

    Args:
        node: Its coded layer, where it is the weights of one.
    """
    array = np.ascontiguousarray(model.arrays[name])
    found = [Section(ArrayForm.FLOATS, float_bytes(array))]
    if entropy == "ans":
        found.append(Section(ArrayForm.EXPONENTS, exponent_bytes(array)))
    if node is not None and (codes := shared_codes(model, node)) is not None:
        start = float_bytes(codes[1]) if has_scale(node) else b""
        form, body = coded_body(codes[0], array.shape, entropy, index_bits)
        found.append(Section(OF_CODES[form], start + body))
    elif (few := shared_values(array)) is not None:
        form, body = coded_body(few[0], array.shape, entropy, index_bits)
        found.append(Section(OF_CODEBOOK[form], codebook_bytes(few[1]) + body))
    return min(found, key=lambda section: len(section.body))


def coded_body(
    shared: SharedArray, shape: Shape, entropy: Entropy, index_bits: IndexBits
) -> tuple[int, bytes]:
    """Returns which of two forms it is, and its bytes."""
    if entropy == "huffman":
        return 0, huffman_bytes(shared, index_bits.of(shape))
    return 1, context_bytes(shared, shape)


def read_section(section: Section, name: str, shape: Shape, node: Node | None) -> KeptArray:
    """Returns the array that a section holds; what it says is held against its shape.

    Raises:
        UserError: If it does not fit the shape, is damaged, or of an unknown form.
    """
    what, size = f"array {name!r}", prod(shape)
    cursor = Cursor(section.body)
    if section.form not in set(ArrayForm):
        raise UserError(f"{what} is of unknown form {section.form}")
    form, scale, parts = ArrayForm(section.form), None, None
    if form == ArrayForm.FLOATS:
        floats = cursor.floats(size, what)
        kept = KeptArray(form, floats, None, int(np.count_nonzero(floats)), None, None)
    elif form == ArrayForm.EXPONENTS:
        floats = read_exponents(cursor, size, what)
        kept = KeptArray(form, floats, None, int(np.count_nonzero(floats)), None, None)
    elif form in OF_CODES:
        if node is None:
            raise UserError(f"{what} is kept as codes, and its layer has none")
        scale = cursor.floats(shape[0], what) if has_scale(node) else None
        count = len(known_codes(node))
        shared, parts = read_coded(cursor, form, shape, count, what)
        codes = restored_codes(shared, node)
        kept = KeptArray(form, codes, scale, len(shared.places), count, parts)
    else:
        values = read_codebook(cursor, f"{what}: its codebook")
        shared, parts = read_coded(cursor, form, shape, len(values), what)
        number = len(shared.places)
        kept = KeptArray(form, restored_values(shared, values), None, number, len(values), parts)
    cursor.end(what)
    return kept


def read_coded(
    cursor: Cursor, form: ArrayForm, shape: Shape, num_values: int, what: str
) -> tuple[SharedArray, CodedParts]:
    if form in (ArrayForm.CODEBOOK_HUFFMAN, ArrayForm.CODES_HUFFMAN):
        return read_huffman(cursor, prod(shape), num_values, what)
    return read_context(cursor, shape, num_values, what)


def model_of(graph: Graph, kept: Mapping[str, KeptArray]) -> Model:
    """Returns the model of arrays that were read: codes times their steps or scales."""
    arrays = {}
    for name, shape in graph.array_shapes().items():
        found = kept[name]
        numbers = found.numbers.reshape(shape)
        if found.form in OF_CODES:
            scale = kept[f"{name}.step"].numbers if found.scale is None else found.scale
            with np.errstate(all="ignore"):  # steps of a damaged file, which are refused later
                numbers = decoded(numbers, scale)
        arrays[name] = numbers.astype(np.float32, copy=False)
    return Model(graph, arrays)
