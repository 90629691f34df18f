"""Studies open where the URL says, and what a kill left in them is put right."""

import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from nas.problem.addresses import address_only, remember, without_passwords
from nas.problem.metrics import METRICS
from nas.problem.records import SAMPLERS
from nas.search.loop import Progress
from nas.search.proposals.evolution import ArchiveEvolutionSampler
from nas.search.proposals.gate import Gate
from nas.search.proposals.samplers import make_sampler
from nas.search.run import run_search
from nas.study.names import BASELINE, HASH
from nas.study.results import load_results
from nas.study.storages import open_storage
from nas.study.study import (
    mend_journal,
    open_study,
    refuse_other_study,
    retake,
    retake_interrupted,
)
from search_spaces.graphs.errors import UserError
from tests.nas.parts.postgres import postgres_server
from tests.nas.parts.tiny import tiny

TWO = (METRICS["accuracy"], METRICS["macs"])
SPACE = tiny().config().space


def study() -> optuna.Study:
    return open_study("s", InMemoryStorage(), RandomSampler(seed=0), TWO)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_that_is_listed_can_be_made(name: str) -> None:
    sampler = make_sampler(name, SPACE, TWO, seed=0, initial=4, gate=Gate(), begun=3)

    assert isinstance(sampler, ArchiveEvolutionSampler) == (name == "evolution")


def test_an_unknown_sampler_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="known samplers: evolution, surrogate, tpe, nsga2, aging"):
        make_sampler("evo", SPACE, TWO, seed=0, initial=4, gate=Gate())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:p@ss@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_passwords(url) == shown


@pytest.mark.parametrize(
    "key", ["password", "sslpassword", "passwd", "PWD", "access_token", "client_secret", "token"]
)
@pytest.mark.parametrize("value", ["hidden", "it's%20hidden"])
def test_no_secret_of_a_query_is_shown_or_written_down(key: str, value: str) -> None:
    secret = f"{key}={value}"
    for query in (secret, f"a=b&{secret}", f"{secret}&a=b", f"{secret}&{secret}&a=b&{secret}"):
        url = f"postgresql://me@host/db?{query}"
        assert "hidden" not in without_passwords(url)
        rest = "?a=b" if "a=b" in query else ""
        assert address_only(url) == f"postgresql://me@host/db{rest}"


def test_a_password_called_like_a_key_hides_no_value_of_it() -> None:
    remember("postgresql://me:secret@host/db")
    remember("postgresql://me:secret_word@host/db")

    said = without_passwords(
        "secret_word, secret and postgresql://me@host/db?client_secret=hidden"
    )

    assert said == "***, *** and postgresql://me@host/db?client_secret=***"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/db",
            r"refused.*\(tried for .* s\).*host, port",
        ),
        (
            "postgresql+nodriver://me:secret@127.0.0.1:1/db",
            r"driver is missing.*\[postgres\]",
        ),
        ("sqlite:////no/such/folder/studies.db", "check that the folder exists"),
        ("journal:/no/such/folder/study", "/no/such/folder does not exist"),
        ("nonsense", r"no known kind; .*postgresql\+psycopg://.*, sqlite:///FILE, journal:PATH"),
        ("oracle://me:secret@host/db", "'oracle' is no known kind"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(
    url: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"cannot open study storage.*{why}") as caught:
        open_storage(url, tmp_path / "journal")

    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("url", [None, "sqlite:///{}/studies.db"])
def test_a_study_of_that_name_is_opened_again_but_refused_to_a_new_run(
    url: str | None, tmp_path: Path
) -> None:
    journal = tmp_path / "study.journal"
    url = url and url.format(tmp_path)
    refuse_other_study("s", url, journal)
    assert not journal.exists()
    first = open_study("s", open_storage(url, journal), RandomSampler(), TWO)

    again = open_study("s", open_storage(url, journal), RandomSampler(), TWO)

    assert again._study_id == first._study_id
    refuse_other_study("t", url, journal)
    with pytest.raises(UserError, match="holds a study 's' of another run; choose another name"):
        refuse_other_study("s", url, journal)


@pytest.mark.parametrize(
    "begin", ["sqlite:///", "sqlite+pysqlite:///", "sqlite:///file:", "journal:"]
)
def test_who_only_reads_makes_no_file(begin: str, tmp_path: Path) -> None:
    url = f"{begin}{tmp_path}/studies.db" + "?uri=true" * ("file:" in begin)

    with pytest.raises(UserError, match=r"studies.db does not exist; check that the path") as said:
        open_storage(url, tmp_path / "study.journal", make=False)

    assert len(str(said.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    open_study("s", open_storage(url, tmp_path / "study.journal"), RandomSampler(), TWO)
    again = open_storage(url, tmp_path / "study.journal", make=False)
    assert [study.study_name for study in again.get_all_studies()] == ["s"]


def test_who_only_reads_makes_no_tables_in_another_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    path.touch()

    with pytest.raises(UserError, match=r"no such table.*; check that it is the file") as said:
        open_storage(f"sqlite:///{path}", tmp_path / "study.journal", make=False)

    assert len(str(said.value).splitlines()) == 1
    assert path.stat().st_size == 0


def test_an_interrupted_trial_is_queued_again_with_its_genes() -> None:
    s = study()
    trial = s.ask()
    trial.suggest_categorical("width", (4, 8))
    trial.suggest_categorical("kind", ("a", "b"))
    trial.set_user_attr(HASH, "h")

    assert retake_interrupted(s) == 1

    assert s.trials[0].state == TrialState.FAIL
    again = s.ask()
    assert again.number == 1
    assert again.suggest_categorical("width", (4, 8)) == trial.params["width"]
    assert again.suggest_categorical("kind", ("a", "b")) == trial.params["kind"]
    assert HASH not in again.user_attrs


def test_an_interrupted_baseline_is_queued_again_as_that_baseline() -> None:
    s = study()
    s.enqueue_trial({}, user_attrs={BASELINE: "lenet5"})
    s.ask()

    assert retake_interrupted(s) == 1

    assert s.ask().user_attrs == {BASELINE: "lenet5"}


def test_a_retaken_trial_that_is_interrupted_again_is_not_forgotten() -> None:
    s = study()
    trial = s.ask()
    trial.suggest_categorical("width", (4, 8))
    trial.set_user_attr(HASH, "h")
    retake_interrupted(s)
    s.ask()  # killed before its genes were asked for

    assert retake_interrupted(s) == 1
    assert s.ask().suggest_categorical("width", (4, 8)) == trial.params["width"]


def test_of_two_that_retake_a_trial_one_does() -> None:
    s = study()
    s.enqueue_trial({"width": 4})
    s.ask()
    (running,) = s.trials

    assert [retake(s, running), retake(s, running)] == [True, False]
    assert [t.state for t in s.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_was_killed_while_it_was_asked_is_dropped() -> None:
    s = study()
    s.ask().suggest_categorical("width", (4, 8))

    assert retake_interrupted(s) == 0

    assert [t.state for t in s.trials] == [TrialState.FAIL]


@pytest.mark.parametrize(
    ("content", "kept"),
    [(b"", b""), (b"abc", b""), (b"{}\n{}\n", b"{}\n{}\n"), (b'{}\n{"a', b"{}\n")],
)
def test_a_journal_ends_with_a_whole_line(tmp_path: Path, content: bytes, kept: bytes) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(content)
    (tmp_path / "study.journal.lock").symlink_to(journal)
    (tmp_path / "study.journal.lock123.rename").symlink_to(journal)
    (tmp_path / "study.journalist").touch()

    mend_journal(journal)

    assert journal.read_bytes() == kept
    assert sorted(os.listdir(tmp_path)) == ["study.journal", "study.journalist"]


def test_there_may_be_no_journal_yet(tmp_path: Path) -> None:
    mend_journal(tmp_path / "study.journal")

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield server.url


@pytest.mark.slow
def test_the_study_may_live_in_postgresql(postgres: str, tmp_path: Path) -> None:
    file = tiny(search={"storage": postgres})

    def fail(progress: Progress) -> None:
        if progress.done == 3:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        run_search(file, tmp_path, on_progress=fail)
    results = run_search(file, tmp_path, resume=True)

    assert len({trial.hash for trial in results.searched}) == 6
    assert load_results(results.run.path).trials == results.trials
    with pytest.raises(UserError, match="holds a study 'tiny' of another run"):
        run_search(file, tmp_path / "other")
