"""Swapping: whatever happens to an export, its place holds a whole one, old or new."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest

from nas.models import swap
from nas.models.swap import folder_beside


def make(to: Path, text: str) -> None:
    with folder_beside(to) as folder:
        (folder / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchanged", "moved aside"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that can exchange folders, and one that cannot."""

    def cannot(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "no exchange")

    if request.param == "moved aside":
        monkeypatch.setattr(swap, "exchange", cannot)


@pytest.mark.usefixtures("disk")
def test_a_folder_takes_its_place_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for text in ("first", "second"):
        make(tmp_path / "out", text)
        assert (tmp_path / "out/file").read_text() == text
        assert names(tmp_path) == ["out"]


@pytest.mark.usefixtures("disk")
def test_two_exports_at_one_instant_both_end_and_one_of_them_stands(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    start, failures = Barrier(4), []

    def run(text: str) -> None:
        try:
            for _ in range(20):
                start.wait()
                make(tmp_path / "out", text)
        except Exception as error:  # any of them fails the test
            failures.append(error)
            start.abort()

    threads = [Thread(target=run, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert (tmp_path / "out/file").read_text() in "0123"
    make(tmp_path / "out", "last")
    assert names(tmp_path) == ["out"]


def test_a_place_is_never_empty_while_a_folder_takes_it(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    program = (
        "import sys; from pathlib import Path; from tests.nas.models.test_swap import make\n"
        "for number in range(10**6): make(Path(sys.argv[1]), str(number))"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path / "out"], env=environment)
    while (tmp_path / "out/file").read_text() == "old":
        assert process.poll() is None
    assert all((tmp_path / "out").is_dir() for _ in range(20_000))
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert (tmp_path / "out").is_dir()
    make(tmp_path / "out", "new")
    assert names(tmp_path) == ["out"]


def test_what_was_set_aside_by_a_killed_export_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    swap.set_aside(tmp_path / "out")
    assert names(tmp_path) != ["out"]

    with pytest.raises(ValueError, match="not this time"), folder_beside(tmp_path / "out"):
        raise ValueError("not this time")

    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/file").read_text() == "old"


def test_what_another_export_is_writing_is_left_alone(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "out") as folder:
        (folder / "file").write_text("slow")
        make(tmp_path / "out", "quick")
        assert folder.is_dir()

    assert (tmp_path / "out/file").read_text() == "slow"


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    for other in (".out.of.mine.part", "out.part", ".another.0123.part"):
        (tmp_path / other).mkdir()

    make(tmp_path / "out", "new")

    assert names(tmp_path) == [".another.0123.part", ".out.of.mine.part", "out", "out.part"]
