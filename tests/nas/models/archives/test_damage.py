"""Damaged and made up archives: each is one line, or exactly the network that was written."""

import json
import re
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from nas.models.archives.archive import archive_bytes, read_content
from nas.models.archives.coding.cursor import number_bytes
from nas.models.archives.container import MAGIC, RAW_DEFLATE, Section, check_bytes
from nas.models.archives.forms import ArrayForm, Entropy
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.quantization.codes import snap_weights
from search_spaces.quantization.reprecision import uniform
from tests.nas.parts.archives import assert_same_bits, opened, sealed, shared_model, stored_model
from tests.nas.parts.models import small_graph

PLACE = Path("network.hwz")
TRIES = 60
ENTROPIES: tuple[Entropy, ...] = ("huffman", "ans")


@cache
def right(entropy: Entropy, coded: bool = False) -> tuple[Model, bytes]:
    graph = uniform(small_graph(), PRECISIONS["w4a8"]) if coded else small_graph()
    model = snap_weights(shared_model(graph)) if coded else shared_model(graph)
    return model, archive_bytes(stored_model(model), entropy)


def refusal(content: bytes) -> str:
    """What an archive is refused with, which must be one line."""
    with pytest.raises(UserError) as caught:
        read_content(PLACE, content)
    said = str(caught.value)
    assert said.startswith(str(PLACE))
    assert said.isprintable()
    assert len(said) < 600
    return said


def rewritten(change: Callable[[dict[str, Any]], None]) -> bytes:
    """An archive whose head was changed by who knows the format."""
    model, content = right("huffman")
    head, sections = opened(content, len(model.arrays))
    data = json.loads(head)
    change(data)
    return sealed(json.dumps(data).encode(), sections)


def with_section(name: str, form: int, body: bytes, entropy: Entropy = "huffman") -> bytes:
    """An archive with another section for an array, its checksum right."""
    model, content = right(entropy)
    head, sections = opened(content, len(model.arrays))
    sections[list(model.graph.array_shapes()).index(name)] = Section(form, body)
    return sealed(head, sections)


def body_of(name: str, entropy: Entropy) -> Section:
    model, content = right(entropy)
    return opened(content, len(model.arrays))[1][list(model.graph.array_shapes()).index(name)]


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_every_flipped_bit_is_noticed(entropy: Entropy) -> None:
    _, content = right(entropy)
    rng = Random(0)

    for _ in range(1500):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        refusal(bytes(changed))


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_every_truncation_is_noticed(entropy: Entropy) -> None:
    _, content = right(entropy)

    for length in range(0, len(content), 1 + len(content) // 1000):
        refusal(content[:length])


def test_bytes_behind_the_end_are_noticed() -> None:
    assert "must end here, 1 bytes are left" in refusal(right("ans")[1] + b"x")


def test_sections_that_changed_places_are_noticed() -> None:
    model, content = right("ans")
    head, sections = opened(content, len(model.arrays))
    at = content.index(sections[1].body)
    first, second = sections[1], sections[2]
    size = len(first.body) + len(second.body)
    assert first.size - len(first.body) == second.size - len(second.body)
    swapped = content[at - 2 : at + size + 12]  # both with their headers and checksums
    moved = content.replace(swapped, swapped[first.size :] + swapped[: first.size])

    assert moved != content
    assert "by its checksum" in refusal(moved)
    assert head


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("entropy", ENTROPIES)
def test_coded_bytes_that_were_changed_with_their_checksum_end_in_a_line_or_a_network(
    entropy: Entropy, coded: bool
) -> None:
    model, content = right(entropy, coded)
    head, sections = opened(content, len(model.arrays))
    rng = Random(1)

    refused = accepted = 0
    for _ in range(TRIES):
        index = rng.randrange(len(sections))
        body = bytearray(sections[index].body)
        for _ in range(rng.randint(1, 3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        changed = [*sections]
        changed[index] = Section(sections[index].form, bytes(body))
        try:
            found = read_content(PLACE, sealed(head, changed)).model
        except UserError as error:
            refused += str(error).isprintable()
        else:
            accepted += found.graph == model.graph
    assert refused + accepted == TRIES
    assert refused > 0


def test_an_archive_without_changes_is_read_again() -> None:
    for entropy in ENTROPIES:
        model, content = right(entropy)
        head, sections = opened(content, len(model.arrays))

        assert sealed(head, sections) == content
        assert_same_bits(read_content(PLACE, content).model, model)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"",
            "got b''; give a file that 'nas export --formats archive' or the step archive wrote",
        ),
        (b"PK\x03\x04", r"got b'PK\x03\x04'; give a file"),
        (MAGIC, r"the version must have 1 bytes, 0 are left"),
        (MAGIC + b"\x02", r"version 2; this hwnas reads version 1; upgrade hwnas"),
        (MAGIC + b"\x00", r"version 0; this hwnas reads version 1; write it again"),
        (MAGIC + b"\x01" + b"\xff" * 9, "more than 9 bytes"),
        (MAGIC + b"\x01" + number_bytes(1 << 40), "at most 16777216"),
        (MAGIC + b"\x01" + number_bytes(9) + number_bytes(1 << 50), "the head must have 1125"),
    ],
)
def test_a_start_that_is_none_is_told(content: bytes, said: str) -> None:
    assert said in refusal(content)


@pytest.mark.parametrize("content", [b"PK\x03\x04", MAGIC + b"\x02"])
def test_no_copy_is_advised_of_what_is_no_archive_of_ours(content: bytes) -> None:
    assert "copy it again" not in refusal(content)


def test_an_archive_that_is_cut_off_says_how_many_bytes_are_left() -> None:
    content = right("ans")[1]

    assert re.search(r"must have \d+ bytes, \d+ are left\)", refusal(content[: len(content) // 2]))


def start_of(packed: bytes, size: int) -> bytes:
    start = MAGIC + b"\x01" + number_bytes(size) + number_bytes(len(packed)) + packed
    return start + check_bytes(zlib.crc32(start))


def deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, RAW_DEFLATE)
    return deflate.compress(text) + deflate.flush()


@pytest.mark.parametrize(
    ("text", "stated", "said"),
    [
        (bytes(1 << 20), 100, "must inflate to 100 bytes"),
        (bytes(1 << 10), 1 << 23, "cannot have 8388608 bytes"),
        (b"{}", 3, "must inflate to 3 bytes"),
        (b"{}", 2, "its head lacks 'class_names'"),
        (b"[]", 2, "the head must be a mapping"),
        (b"[" * 5000 + b"]" * 5000, 10_000, "nested too deep"),
        (b"{'a'}", 5, "its head is not JSON"),
        (b"\xff\xfe", 2, "its head is not JSON"),
    ],
)
def test_a_head_that_is_none_is_told(text: bytes, stated: int, said: str) -> None:
    assert said in refusal(start_of(deflated(text), stated))


def test_a_head_that_is_no_deflated_text_is_told() -> None:
    assert "no deflated text" in refusal(start_of(b"\xff" * 9, 20))
    assert "must inflate to" in refusal(start_of(deflated(b"{}")[:-1], 2))


def test_a_graph_that_is_not_valid_is_told() -> None:
    def drop(data: dict[str, Any]) -> None:
        del data["graph"]["nodes"][0]

    def wide(data: dict[str, Any]) -> None:
        data["graph"]["nodes"][0]["out_channels"] = -8

    def unknown(data: dict[str, Any]) -> None:
        data["graph"]["nodes"][0]["operator"] = "os.system"

    assert "which no node before it gives" in refusal(rewritten(drop))
    assert "out_channels" in refusal(rewritten(wide))
    assert "unknown operator 'os.system'" in refusal(rewritten(unknown))


def test_names_that_terminals_obey_and_inputs_that_do_not_fit_are_told() -> None:
    assert "printable letters" in refusal(rewritten(lambda data: data.update(name="\x1b[31m")))
    assert "mean and std must both" in refusal(
        rewritten(lambda data: data.update(input={"mean": [0.5]}))
    )
    assert "needs as many class names" in refusal(
        rewritten(lambda data: data.update(class_names=["a"]))
    )
    assert "has no field 'code'" in refusal(rewritten(lambda data: data["input"].update(code="x")))


def bomb(data: dict[str, Any]) -> None:
    """A convolution of half a million channels: two milliard numbers."""
    data["graph"]["nodes"][0]["out_channels"] = 1 << 19
    data["graph"]["nodes"][1]["out_channels"] = 400


def test_a_graph_of_more_numbers_than_such_a_file_holds_is_told_before_anything_is_made() -> None:
    content = rewritten(bomb)
    tracemalloc.start()
    try:
        said = refusal(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "numbers, an archive of" in said
    assert peak < 1 << 20


def test_arrays_of_another_shape_than_the_graph_says_are_told() -> None:
    def wider(data: dict[str, Any]) -> None:
        data["graph"]["nodes"][0]["out_channels"] = 9

    refusal(rewritten(wider))


@pytest.mark.parametrize("form", [6, 77, 255])
def test_forms_that_nobody_knows_are_told(form: int) -> None:
    assert f"is of unknown form {form}" in refusal(with_section("body.weight", form, b""))


def test_codes_for_a_layer_of_real_weights_are_told() -> None:
    body = body_of("body.weight", "huffman").body

    said = refusal(with_section("body.weight", ArrayForm.CODES_HUFFMAN, body))

    assert "kept as codes, and its layer has none" in said


def test_values_that_are_no_numbers_are_told() -> None:
    numbers = np.full(10, np.nan, "<f4").tobytes()

    said = refusal(with_section("classifier.bias", ArrayForm.FLOATS, numbers))

    assert "must hold finite numbers" in said


def test_variances_below_zero_are_told() -> None:
    numbers = np.full(8, -1, "<f4").tobytes()

    said = refusal(with_section("stem.norm.variance", ArrayForm.FLOATS, numbers))

    assert "must hold variances" in said


def test_steps_that_are_none_are_told() -> None:
    model, content = right("ans", coded=True)
    head, sections = opened(content, len(model.arrays))
    names = list(model.graph.array_shapes())
    index = names.index("body.weight.step")
    sections[index] = Section(ArrayForm.FLOATS, bytes(4 * model.arrays[names[index]].size))

    assert "must be a positive number" in refusal(sealed(head, sections))


def test_lengths_that_promise_more_than_the_file_has_are_told() -> None:
    codebook = number_bytes(4000) + bytes([1, 0])
    entries = number_bytes(0) + bytes([33, 0]) + bytes([5]) + number_bytes(1 << 40)

    assert "bytes, " in refusal(with_section("body.weight", ArrayForm.CODEBOOK_HUFFMAN, codebook))
    assert "its entries must be at most 576" in refusal(
        with_section("body.weight", ArrayForm.CODEBOOK_HUFFMAN, entries)
    )
    assert "its weights must be at most 576" in refusal(
        with_section("body.weight", ArrayForm.CODEBOOK_ANS, bytes([0, 33, 0]) + number_bytes(577))
    )


def test_weights_without_values_are_told() -> None:
    body = bytes([0, 33, 0]) + number_bytes(576)

    said = refusal(with_section("body.weight", ArrayForm.CODEBOOK_ANS, body))

    assert "576 weights and no values" in said
