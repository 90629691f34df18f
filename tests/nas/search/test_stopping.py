"""A search that is to stop says so at once, ends what is running, and how to go on."""

import os
import re
import signal
import threading
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from nas.cli.search import search_command
from nas.cli.terminal.going_on import search_line
from nas.problem.run_file import RunFile, to_yaml
from nas.search.run import run_search
from nas.search.stopping import in_words, stopping_gently
from nas.search.under_way import Candidate, UnderWay
from nas.study.results import load_results
from search_spaces.space.space import sample
from tests.nas.parts.command_line import nas
from tests.nas.parts.tiny import tiny
from tests.waiting import PATIENCE_S

AGAIN = "Ctrl-C again ends it at once, and loses only what is under way"


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    sleep(0.01)  # the handler runs between two instructions of this thread


def until(is_so: "threading.Event") -> None:
    assert is_so.wait(PATIENCE_S)


def test_a_first_interrupt_says_what_happens_and_a_second_one_raises() -> None:
    stop, was_said, said = threading.Event(), threading.Event(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        was_said.set()

    with stopping_gently(stop, say, lambda: "trial 7, about 40 s"):
        interrupt()
        assert stop.is_set()
        until(was_said)
        with pytest.raises(KeyboardInterrupt):
            interrupt()

    assert said == [f"interrupted: finishing trial 7, about 40 s; {AGAIN}"]


def test_what_is_under_way_is_named_with_the_time_that_it_still_takes(tmp_path: Path) -> None:
    architecture = sample(tiny().config().space, Random(0))
    under_way = UnderWay(None, None, None, clock=lambda: 10.0)  # type: ignore[arg-type]
    assert in_words(under_way) == "what it is at"

    for number, since in enumerate((2.0, 8.0)):
        under_way.candidates[str(number)] = Candidate(f"hash{number}", architecture, [], since)
    assert in_words(under_way) == "hash0, hash1"

    under_way.seconds += [20.0, 30.0, 40.0]
    assert in_words(under_way) == "hash0, hash1, about 28.0 s"


def test_a_search_ends_when_its_time_is_over(tmp_path: Path) -> None:
    said: list[str] = []
    file = tiny(search={"trials": 54, "timeout": 1}, training={"epochs": 5})

    results = run_search(file, tmp_path, on_note=said.append)

    assert 0 < len(results.searched) < 54
    assert results.num_running == 0
    assert len(said) == 1
    begin = r"the time-out of 1.0 is over: finishing (trial \d+|what it is at)(, about .*)?"
    assert re.fullmatch(f"{begin}; {AGAIN}", said[0])


def test_a_time_out_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search\.timeout must be a duration such as 90s"):
        tiny(search={"timeout": "soon"})


def test_the_command_line_says_how_to_go_on(tmp_path: Path) -> None:
    file = tiny(search={"trials": 54}, training={"epochs": 5})
    (tmp_path / "a run.yaml").write_text(to_yaml(file))
    threading.Thread(target=interrupt_after, args=(tmp_path / "out" / "tiny", 2)).start()

    said = nas(
        *("search", "a run.yaml", "--runs", "out", "--seed", "3"),
        *("--set", "name=tiny", "--set", "constraints=[]"),
        at=tmp_path,
    )

    assert re.search(r"interrupted: finishing (trial \d+|what it is at)", said)
    again = (
        "nas search 'a run.yaml' --seed 3 --runs out --set name=tiny --set 'constraints=[]' "
        "--resume"
    )
    assert f"go on with: {again}\n" in said
    assert len(load_results(tmp_path / "out" / "tiny").searched) < 54


def interrupt_after(run: Path, trials: int) -> None:
    end = monotonic() + PATIENCE_S
    while len(list(run.glob("evaluations/*.json"))) < trials and monotonic() < end:
        sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def begun(run: Path, file: RunFile) -> None:
    """Leaves a run folder as a search that has just begun does, as far as commands look."""
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(to_yaml(file))
    (run / "run.json").touch()


def test_a_second_interrupt_says_how_to_go_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: RunFile, *arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.search.watched_search", interrupted)
    file = tiny()
    (tmp_path / "run.yaml").write_text(to_yaml(file))
    begun(tmp_path / "runs" / "tiny", file)

    words = ("search", "run.yaml", "--timeout", "2h", "--workers", "2")
    said = nas(*words, at=tmp_path, code=1)

    assert said == "stopped; go on with: nas search run.yaml --workers 2 --timeout 2h --resume\n"


# No part of the command: --dry-run runs nothing, --change is done, the queue is in the study.
LEFT_OUT = {"config", "more", "resume", "change", "enqueue", "dry_run", "changes"}
GIVEN = {
    **{"--trials": "7", "--workers": "2", "--seed": "3", "--ray": "auto", "--timeout": "2h"},
    **{"--study-url": "journal:all.journal", "--max-drift": "1.5", "--data": "other.npz"},
    **{"--runs": "out", "--no-avoid-useless": None, "--join": None},
}


def test_every_option_that_was_given_stands_in_the_command_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: RunFile, *arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.cli.search.watched_search", interrupted)
    monkeypatch.setattr("nas.cli.search.place_at", lambda *given: nullcontext())
    file = tiny(data={"kind": "npz", "path": "d.npz"})
    (tmp_path / "run.yaml").write_text(to_yaml(file))
    begun(tmp_path / "out" / "tiny", file)
    words = [word for option in GIVEN.items() for word in option if word is not None]

    said = nas("search", "run.yaml", *words, "--set", "search.initial=2", at=tmp_path, code=1)

    names = {name.replace("_", "-") for name in signature(search_command).parameters}
    assert names - {name.replace("_", "-") for name in LEFT_OUT} == {
        name.removeprefix("--").removeprefix("no-") for name in GIVEN
    }
    again = said.removeprefix("stopped; go on with: nas search run.yaml ").split()
    for option, value in GIVEN.items():
        assert option in again
        assert value is None or again[again.index(option) + 1] == value
    assert again[-3:] == ["--set", "search.initial=2", "--resume"]


def test_a_password_is_in_no_command_to_go_on_with() -> None:
    url = "postgresql+psycopg://me:secret@host/db"
    line = search_line("r.yaml", {"--study-url": url}, [f"search.storage={url}"])

    assert "secret" not in line
    assert line.count("me:***@host") == 2
