"""What other libraries say of a failure is one short line that no terminal obeys."""

import pytest

from search_spaces.graphs.errors import one_line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("first\nsecond", "first"),
        ("  \n  after blank lines ", "after blank lines"),
        ("colour \x1b[31m and \x07", "colour \\x1b[31m and \\x07"),
        ("several   spaces\tand tabs", "several spaces and tabs"),
        ("", "OSError"),
    ],
)
def test_an_error_is_shown_as_one_line(said: str, shown: str) -> None:
    assert one_line(OSError(said)) == shown


def test_an_error_that_holds_a_whole_file_is_cut() -> None:
    said = one_line(ValueError("file \x00" * 9999))

    assert len(said) == 300
    assert said.isprintable()
