"""Searches on a cluster, in processes of their own, for tests that kill them and what they use."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from optuna.trial import TrialState

from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.evaluation.ray.nodes.processes import find_processes
from nas.problem.run_file import RunFile, to_yaml
from nas.runs.activity import read_activities
from nas.runs.folder import RunFolder
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage
from tests.waiting import PATIENCE_S, wait_until

OURS = ("ray::ResourceTrainable", "ray::Keeper", "ray::DeviceActor")

PROGRAM = """
import json
import sys
from pathlib import Path
from nas.evaluation.ray.connection import connected
from nas.evaluation.ray.place import RayPlace
from nas.study.liveness import Timing
from nas.evaluation.instruments import Instruments
from nas.problem.run_file import read_run_file
from nas.search.run import run_search
from search_spaces.graphs.errors import UserError
from tests.nas.evaluation.ray.instruments import Opening, Slow

def tell(progress):
    print(progress.name, flush=True)

if __name__ == "__main__":
    config, runs, how, slow, deaths = sys.argv[1:]
    instruments = Instruments(Slow(**json.loads(slow)))
    try:
        with connected("auto") as cluster:
            results = run_search(
                read_run_file(Path(config)), Path(runs), resume=how == "resume",
                join=how == "join", timing=Timing(0.2, 2.0, 0.2, 30.0),
                place=RayPlace(
                    cluster, instruments, checkpoint_every_s=0.2,
                    open_training=Opening(runs, int(deaths)),
                ),
                on_start=lambda: print("start", flush=True), on_progress=tell,
            )
    except UserError as error:
        print(f"refused: {error}", flush=True)
        import os
        os._exit(2)  # as the command line does where the head is gone
    print("end", len(results.searched), flush=True)
"""


@contextmanager
def driving(
    folder: Path,
    file: RunFile,
    how: str = "new",
    folder_of_marks: str | None = None,
    deaths: int = 0,
    **slow: Any,  # noqa: ANN401
) -> Iterator["subprocess.Popen[str]"]:
    """Runs a search on the local cluster in a process; it is killed at the end of the block.

    Args:
        folder: Where the run folder is made.
        how: "new", "resume" or "join".
        folder_of_marks: Where its measurer leaves its marks; None takes ``folder``.
        deaths: How many of its workers are killed while they load the data.
        slow: What its measurer is like.
    """
    folder.mkdir(exist_ok=True)
    program, config = folder / "program.py", folder / "run.yaml"
    program.write_text(PROGRAM)
    config.write_text(to_yaml(file))
    measurer = json.dumps({"folder": folder_of_marks or str(folder), **slow})
    command = [sys.executable, str(program), str(config), str(folder), how, measurer, str(deaths)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ended_well(process: "subprocess.Popen[str]", folder: Path) -> None:
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said + (folder / "errors").read_text()
    assert (folder / "errors").read_text() == ""


def refused(process: "subprocess.Popen[str]") -> str:
    """Returns the one line with which a search ended."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    lines = said.strip().splitlines()
    assert lines[-1].startswith("refused: ")
    return lines[-1].removeprefix("refused: ")


def workers_at(cluster: LocalCluster, title: str) -> list[psutil.Process]:
    """Returns the live processes of the cluster whose title begins so."""
    found = []
    for process in find_processes(cluster.temp):
        try:
            if " ".join(process.cmdline()).startswith(title):
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_of_us(cluster: LocalCluster) -> list[str]:
    return [
        " ".join(process.cmdline()) for title in OURS for process in workers_at(cluster, title)
    ]


def all_gone(cluster: LocalCluster) -> None:
    """Waits until no process of a search is left on the cluster."""
    wait_until(lambda: not left_of_us(cluster))


def in_training(run: Path) -> set[str]:
    """Returns the candidates that have got so far that they have a checkpoint."""
    return {path.stem for path in (run / "checkpoints").glob("*.safetensors")}


def is_training(run: Path) -> bool:
    return bool(in_training(run))


def told(run: Path) -> dict[str, Any]:
    """What is told to the study, by the network's hash."""
    storage = open_storage(None, run / "study.journal")
    return {
        trial.user_attrs["hash"]: trial.values
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id)
        if trial.state == TrialState.COMPLETE
    }


def doubled(run: Path) -> int:
    """How many evaluations were told for a network that had one."""
    storage = open_storage(None, run / "study.journal")
    hashes = [
        trial.user_attrs["hash"]
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id)
        if trial.state == TrialState.COMPLETE
    ]
    return len(hashes) - len(set(hashes))


def check_whole(run: Path, wanted: int, before: dict[str, Any] | None = None) -> RunResults:
    """Checks that nothing is lost, doubled or left over, and that what was asked for is there.

    Args:
        before: What had been told before something was killed.
    """
    results = load_results(run)
    hashes = [trial.hash for trial in results.searched]
    assert len(hashes) == wanted
    assert [key for key, count in Counter(hashes).items() if count > 1] == []
    assert {path.stem for path in (run / "evaluations").iterdir()} == {
        trial.hash for trial in results.trials
    }
    assert (results.num_running, results.num_duplicates) == (0, 0)
    assert (before or {}).items() <= told(run).items()
    assert not any((run / "checkpoints").rglob("*.safetensors"))
    assert read_activities(RunFolder(run)) == ()
    assert all(trial.evaluation.feasible for trial in results.front)
    return results


def raylet_of(cluster: LocalCluster, name: str) -> psutil.Process:
    assert local_cluster.running() is not None
    return psutil.Process(cluster.raylets[name])


def heads(cluster: LocalCluster) -> list[psutil.Process]:
    return [
        process
        for process in find_processes(cluster.temp)
        if "gcs_server" in " ".join(process.cmdline()[:1])
    ]
