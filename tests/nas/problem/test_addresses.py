"""A password is never repeated: not of an address that is right, and not of one that is not."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli import app, explain
from nas.problem.addresses import argument, check_address, remember, told, without_passwords
from nas.problem.run_file import read_run_file, to_yaml
from nas.runs.folder import create_run
from search_spaces.graphs.errors import UserError
from tests.nas.parts.tiny import tiny

SECRET = "hush-hush"
MALFORMED = [
    address.replace("PW", SECRET)
    for address in (
        "hwnas:PW@host/x",
        "//user:PW@host/x",
        "user:PW@host",
        "postgresql:user:PW@host/db",
        "postgresql+psycopg:/user:PW@host/db",
        "postgresql+psycopg:///user:PW@host/db",
        "postgresql+psycopg://us er:PW@host/db",
        "postgresql://user:two PW@host/db",
        "postgresql://user:PW@ho st/db",
        "postgresql://user:PW@host:port/db",
        "postgresql://user:a@PW@host/db",
        "postgresql://user:PW@@host/db",
        "postgresql://user:PW",
        "postgres://user:PW@host/db",
        "oracle://user:PW@host/db",
        "http://user:PW@host/db",
        "postgresql//user:PW@host/db",
        "host/db?password=PW",
        "x://host/db?pass=PW",
        "x://host/db?api_key=PW&a=b",
        "x://host/db;password=PW",
        "x://host/db?sslpassword=PW",
        "password=PW",
    )
]
WELL_FORMED = [
    "postgresql+psycopg://user:hush-hush@127.0.0.1:1/db",
    "postgresql+psycopg://127.0.0.1:1/db?user=me&password=hush-hush",
    "postgresql+psycopg://127.0.0.1:1/db?pass=hush-hush",
    "postgresql+psycopg://127.0.0.1:1/db?api_key=hush-hush",
    "postgresql+psycopg://127.0.0.1:1/db;password=hush-hush",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.yaml"
    path.write_text(to_yaml(tiny()))
    return path


@pytest.mark.parametrize("address", MALFORMED)
def test_no_door_repeats_the_password_of_a_malformed_address(address: str, file: Path) -> None:
    doors = [
        f"search.storage={json.dumps(address)}",
        f"search.storage=[{address}]",
        f"search.storage={{{address}}}",
        f"search.storage='{address}",
        f"search.storage={{password: {SECRET}}}",
        f"search.storage.url={address}",
        f"search={address}",
        f"search.password={SECRET}",
        f"name={address}",
        f"space={address}",
        f"objectives={address}",
        f"constraints={address}",
        f"latency.device.{address}",
        address,
        f"{address}=1",
    ]
    for door in doors:
        with pytest.raises(UserError) as caught:
            read_run_file(file, [door])
        assert SECRET not in explain(caught.value), door


@pytest.mark.parametrize("address", [*MALFORMED, *WELL_FORMED])
def test_the_command_line_repeats_none_and_writes_none(
    address: str, file: Path, tmp_path: Path
) -> None:
    command = ["search", str(file), "--study-url", address, "--runs", str(tmp_path / "runs")]

    done = CliRunner().invoke(app, command)

    assert isinstance(done.exception, UserError)
    assert SECRET not in explain(done.exception) + done.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["hush-hush", "two words; and more", "a'b\"c"])
def test_a_run_writes_its_command_without_the_password(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["nas", "search", "--study-url", f"postgresql://me:{value}@host/db?password={value}"]
    monkeypatch.setattr(sys, "argv", words)

    run = create_run(tmp_path / "run", "name: run\n")

    assert value not in json.loads((run.path / "run.json").read_text())["command"]
    assert "me:***@host/db" in (run.path / "run.json").read_text()


def test_a_password_that_was_given_is_starred_wherever_it_turns_up() -> None:
    remember("postgresql://me:gi%20ven-once@host/db")

    assert without_passwords("FATAL: no user gi ven-once here") == "FATAL: no user *** here"


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1]:80/docs and 10.0.0.2:9090",
        "trial:3 at 12:30:11",
        "ray://head:10001",
        "a.py:3",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == argument(text) == text


@pytest.mark.parametrize("address", ["journal:/a@b/c", "sqlite:///a.db", "postgresql://me@h:5/d"])
def test_a_right_address_is_taken(address: str) -> None:
    check_address(address)


def test_a_long_value_is_looked_through_before_it_is_cut() -> None:
    long = ["a" * 300, "postgresql://me:" + SECRET + "x" * 300 + "@host"]

    assert SECRET not in told(long)
    assert SECRET not in told({"outer": {"api_key": SECRET}})
