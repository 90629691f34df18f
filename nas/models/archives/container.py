"""Container: what an archive's bytes are made of, and how they are read without trusting them.

A file is a start, a head and one section an array, each with a checksum that goes on from the one
before, so that nothing can be changed, left out or moved. Every length is held against what is
left of the file before anything is taken by it. The page docs/archives.md has all of it.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from nas.models.archives.coding.cursor import Cursor, number_bytes
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

MAGIC = b"\x89HWZ"
VERSION = 1
MOST_HEAD = 1 << 24  # bytes of its JSON
MOST_DEFLATED = 1032  # bytes that deflate can make of one
RAW_DEFLATE = -15


class NoArchiveError(UserError):
    """A file is none, or one that only another hwnas reads; says of it what it is."""


@dataclass(frozen=True, slots=True)
class Section:
    """One array as it is kept.

    Attributes:
        form: Which of `nas.models.archives.forms` it has.
        size: Bytes that it takes in the file, its own header and checksum among them.
    """

    form: int
    body: bytes
    size: int = 0


def file_bytes(head: bytes, sections: Iterable[Section]) -> bytes:
    """Returns an archive of a JSON text and the sections of its arrays."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, RAW_DEFLATE, 9)
    packed = deflate.compress(head) + deflate.flush()
    sizes = number_bytes(len(head)) + number_bytes(len(packed))
    parts = [MAGIC, bytes([VERSION]), sizes, packed]
    check = zlib.crc32(b"".join(parts))
    parts.append(check_bytes(check))
    for section in sections:
        start = bytes([section.form]) + number_bytes(len(section.body))
        check = zlib.crc32(section.body, zlib.crc32(start, check))
        parts += [start, section.body, check_bytes(check)]
    return b"".join(parts)


def check_bytes(check: int) -> bytes:
    return check.to_bytes(4, "little")


class Archive:
    """An archive that is being read: its head at once, then one section after another.

    Raises:
        UserError: If it is none, of another version, cut off, or its head is damaged.
    """

    def __init__(self, content: bytes) -> None:
        self.cursor = Cursor(content)
        start = content[: len(MAGIC)]
        if start != MAGIC:
            raise NoArchiveError(
                f"must start with {MAGIC!r} as archives do, got {shown(start)}; give a file that "
                "'nas export --formats archive' or the step archive wrote"
            )
        self.cursor.take(len(MAGIC), "the start")
        version = self.cursor.byte("the version")
        if version != VERSION:
            raise NoArchiveError(
                f"is an archive of version {version}; this hwnas reads version {VERSION}; "
                f"{'upgrade hwnas' if version > VERSION else 'write it again'}"
            )
        self.check = 0
        self.head = self.read_head()
        self.head_size = self.cursor.at

    def read_head(self) -> bytes:
        cursor = self.cursor
        size = cursor.number("the head", MOST_HEAD)
        packed = cursor.take(cursor.length("the head"), "the head")
        self.take_check(cursor.data[: cursor.at], "the head")
        if size > MOST_DEFLATED * len(packed):
            raise UserError(f"the head cannot have {size} bytes in {len(packed)}")
        inflate = zlib.decompressobj(RAW_DEFLATE)
        try:
            head = inflate.decompress(packed, size + 1)
        except zlib.error as error:
            raise UserError(f"the head is no deflated text: {error}") from None
        if len(head) != size or not inflate.eof or inflate.unused_data:
            raise UserError(f"the head must inflate to {size} bytes")
        return head

    def section(self, name: str) -> Section:
        """Returns the next section, which holds the array ``name``.

        Raises:
            UserError: If it is cut off, or not what was written.
        """
        what, start = f"array {name!r}", self.cursor.at
        form = self.cursor.byte(what)
        body = self.cursor.take(self.cursor.length(what), what)
        self.take_check(self.cursor.data[start : self.cursor.at], what)
        return Section(form, body, self.cursor.at - start)

    def take_check(self, content: bytes, what: str) -> None:
        self.check = zlib.crc32(content, self.check)
        if self.cursor.take(4, what) != check_bytes(self.check):
            raise UserError(f"{what} is not what was written, by its checksum")

    def end(self) -> None:
        self.cursor.end("the archive")
