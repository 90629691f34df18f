"""A PostgreSQL server of a test's own, that can be killed and started again."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE_S

SECRET = "s3cr3t-Pa55"


@dataclass(frozen=True)
class Postgres:
    """A server that listens on this machine's own address.

    Attributes:
        as_user: What a command begins with, so that it is not run as root.
    """

    programs: Path
    folder: Path
    port: int
    as_user: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://hwnas:{SECRET}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        command = [*self.as_user, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def make(self) -> None:
        password = self.folder / "password"
        password.write_text(SECRET)
        password.chmod(0o644)
        self.run(
            *("initdb", "-D", str(self.data), "-U", "hwnas", "-A", "scram-sha-256"),
            *("--pwfile", str(password), "--no-sync"),
        )

    def start(self) -> None:
        server = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -k {self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", server, "start")

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """Kills every process of the server at once, as a power cut would."""
        main = psutil.Process(self.pid)
        family = [main, *main.children(recursive=True)]
        for process in family:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=PATIENCE_S)

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists() and psutil.pid_exists(self.pid):
            self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Starts a server; skips the test where none is installed."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install '.[postgres]'")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL server in /usr/lib/postgresql")
    as_user: tuple[str, ...] = ()
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if os.getuid() == 0:  # the server refuses to run as root
        if subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode:
            pytest.skip("root cannot run PostgreSQL, and there is no user 'postgres'")
        subprocess.run(["chown", "postgres", str(folder)], check=True)
        as_user = ("runuser", "-u", "postgres", "--")
    server = Postgres(programs[-1].parent, folder, free_port(), as_user)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        subprocess.run(["rm", "-r", str(folder)], check=True)
