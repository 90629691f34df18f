"""The script for SLURM starts searches that may go on, and jobs that may share a study."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "docs" / "cluster" / "slurm.sh"
URL = "postgresql+psycopg://me@host/db"
STUBS = {
    "scontrol": "echo node-1",
    "getent": "echo 127.0.0.1 STREAM",
    "seq": "echo 1",
    "sleep": "",
    "srun": "",
    "python": "echo token",
    "nas": 'printf "%s\\n" "$@"; exit 3',
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with stand-ins for what a SLURM allocation has."""
    for name, line in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/bash\n{line}\n")
        stub.chmod(0o755)
    (tmp_path / "bin" / "activate").touch()
    return tmp_path


def words_of_search(machine: Path, job: int, **given: str) -> list[str]:
    """Returns what a job gives to `nas`, beside the run file and the cluster."""
    environment = {
        "PATH": f"{machine / 'bin'}:{os.environ['PATH']}",
        "HWNAS_VENV": str(machine),
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "node-1",
        "SLURM_CPUS_PER_TASK": "2",
    }
    command = ["bash", str(SCRIPT), "run.yaml"]
    done = subprocess.run(
        command, cwd=machine, env=environment | given, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr  # that of the search
    assert not list(machine.glob(".ray-token*"))
    words = done.stdout.split("\n")[:-1]
    assert words[:3] == ["search", "run.yaml", "--ray"]
    return words[4:]


def test_a_donethat_is_submitted_again_goes_on_with_its_run(machine: Path) -> None:
    first, second = words_of_search(machine, 7), words_of_search(machine, 8)
    assert first == second == ["--resume", "--runs", "runs"]


def test_jobs_that_share_a_study_join_it_each_with_a_folder_of_its_own(machine: Path) -> None:
    first, second = (words_of_search(machine, job, STUDY_URL=URL) for job in (7, 8))
    assert first == ["--study-url", URL, "--join", "--runs", "runs/job-7"]
    assert second == ["--study-url", URL, "--join", "--runs", "runs/job-8"]
    again = words_of_search(machine, 9, STUDY_URL=URL, RUNS="runs/job-7")
    assert again == first
