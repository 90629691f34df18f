"""A supernet on a cluster: one task trains it, every node cuts the same slices out of it."""

from pathlib import Path
from typing import Any

import pytest

from nas.evaluation.ray.nodes.local_cluster import LocalCluster
from nas.search.run import run_search
from tests.nas.evaluation.ray.driving import check_whole, driving, ended_well
from tests.nas.parts.tiny import tiny

pytestmark = pytest.mark.slow


def test_slices_on_a_cluster_are_those_of_this_machine(
    two_nodes: LocalCluster, tmp_path: Path, digits_file: dict[str, Any]
) -> None:
    supernet = {"epochs": 2, "batch_size": 30, "tune_epochs": 0}
    search = {"evaluation": "supernet", "supernet": supernet, "trials": 4, "workers": 1}
    file = tiny(data=digits_file, search=search, baselines=["lenet_300_100"])
    with driving(tmp_path, file) as process:
        ended_well(process, tmp_path)
    there = check_whole(tmp_path / "tiny", 4)

    here = run_search(file, tmp_path / "here")

    content = [path / "tiny" / "supernet.safetensors" for path in (tmp_path, tmp_path / "here")]
    values = {trial.hash: dict(trial.evaluation.values) for trial in here.trials}
    shared = [trial for trial in there.trials if trial.hash in values]
    assert all(path.exists() for path in content)
    assert len(shared) >= 2
    assert all(dict(trial.evaluation.values) == values[trial.hash] for trial in shared)
    assert "supernet epoch 2 of 2" in (tmp_path / "tiny" / "search.log").read_text()
