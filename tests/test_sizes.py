"""The table of sizes counts what is there."""

from pathlib import Path

from scripts.sizes import COLUMNS, row, table

CODE = """import functools


@functools.cache
def three_lines():
    return 3


class Thing:
    def two_lines(self):
        return 2
"""


def test_a_package_is_counted_by_file_function_and_folder(tmp_path: Path) -> None:
    inner = tmp_path / "package" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "package" / "short.py").write_text("one = 1\n")
    (inner / "__init__.py").write_text("")
    (inner / "long.py").write_text(CODE)

    cells = dict(zip(COLUMNS, row(tmp_path / "package"), strict=True))

    assert cells == {
        "": "package",
        "files": "3",
        "lines": "12",
        "file": "1",
        "longest file": "11 long",
        "function": "2.5",
        "longest": "3 three_lines",
        "widest folder": "2 package/inner",
    }


def test_columns_stand_below_each_other() -> None:
    text = table([("a", *"1234567"), ("longer", *"1234567")])

    header, *lines = text.splitlines()
    assert {line.index("1") for line in lines} == {header.index("files")}
