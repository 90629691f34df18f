"""Prints how large the code is: files, lines, typical and longest pieces, widest folders."""

import ast
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("search_spaces", "latency_models", "nas", "benchmarks", "tests")
COLUMNS = ("", "files", "lines", "file", "longest file", "function", "longest", "widest folder")


@dataclass(frozen=True, order=True, slots=True)
class Piece:
    """A file, function or folder, and how large it is; pieces compare by size."""

    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.size} {self.name}"


def functions(path: Path) -> list[Piece]:
    """Every function of a file with its lines, decorators and docstring included."""
    return [
        Piece((node.end_lineno or node.lineno) - min(lines_of(node)) + 1, node.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    return [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]


def row(package: Path) -> tuple[str, ...]:
    """The cells of one package: counts, then median and largest piece of each kind."""
    paths = sorted(package.rglob("*.py"))
    files = [Piece(len(path.read_text().splitlines()), path.stem) for path in paths]
    pieces = [piece for path in paths for piece in functions(path)]
    entries = Counter(entry.parent for entry in {*paths, *(path.parent for path in paths)})
    entries.pop(package.parent, None)  # the package itself is an entry there
    folders = [
        Piece(number, str(folder.relative_to(package.parent)))
        for folder, number in entries.items()
    ]
    return (
        package.name,
        str(len(files)),
        str(sum(file.size for file in files)),
        *middle_and_largest(files),
        *middle_and_largest(pieces),
        str(max(folders)),
    )


def middle_and_largest(pieces: list[Piece]) -> tuple[str, str]:
    return f"{median(piece.size for piece in pieces):g}", str(max(pieces))


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows as text, in columns."""
    cells = [COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table(row(ROOT / name) for name in PACKAGES) + "\n")
