"""Searches in processes of their own, for tests that kill them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.problem.run_file import RunFile, to_yaml

# Drivers that notice within seconds that another one is dead.
PROGRAM = """
import sys
from pathlib import Path
from nas.study.drivers import Timing
from nas.problem.run_file import read_run_file
from nas.search.run import run_search
from search_spaces.graphs.errors import UserError

def tell(progress):
    print(progress.name, flush=True)

if __name__ == "__main__":
    config, runs, how, storage_limit_s = sys.argv[1:]
    timing = Timing(0.2, 2.0, 0.2, float(storage_limit_s))
    try:
        results = run_search(
            read_run_file(Path(config)), Path(runs), resume=how == "resume", join=how == "join",
            on_start=lambda: print("start", flush=True), on_progress=tell, timing=timing,
        )
    except UserError as error:
        sys.exit(f"refused: {error}")
    print("end", len(results.searched), flush=True)
"""


@contextmanager
def driving(
    folder: Path, file: RunFile, how: str, *, storage_limit_s: float = 30.0
) -> Iterator["subprocess.Popen[str]"]:
    """Runs a search in a process; it is killed at the end of the block.

    Args:
        folder: Where the run folder is made.
        how: "new", "resume" or "join".
    """
    with running(folder, PROGRAM, file, how, str(storage_limit_s)) as process:
        yield process


@contextmanager
def running(
    folder: Path, text: str, file: RunFile, *arguments: str
) -> Iterator["subprocess.Popen[str]"]:
    """Runs a program in a process (and a process group) of its own, and kills it at the end.

    Its arguments are a run file and the folder of runs, and then ``arguments``.
    """
    folder.mkdir(exist_ok=True)
    program, config = folder / "program.py", folder / "run.yaml"
    program.write_text(text)
    config.write_text(to_yaml(file))
    command = [sys.executable, str(program), str(config), str(folder), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[str]", line: str, times: int = 1) -> None:
    """Reads what a search says until a line that begins so was said so many times."""
    assert process.stdout is not None
    for said in process.stdout:
        times -= said.startswith(line)
        if times == 0:
            return
    raise AssertionError(f"the search ended without saying {line!r}: {process.communicate()}")


def ended_well(process: "subprocess.Popen[str]") -> None:
    said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, ""), said
