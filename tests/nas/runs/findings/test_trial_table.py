"""All trials as CSV, read back by pandas."""

from io import StringIO
from pathlib import Path

import pandas
import pytest

from nas.runs.findings.trial_table import write_csv
from tests.nas.parts.runs import baseline, make_run, run_file


def test_every_trial_is_a_row_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    file = run_file(trials=8, constraints=["macs <= 100000"])
    results = make_run(
        tmp_path, file=file, trials=8, baselines={"net": baseline("net", 8)}, seed=1
    )
    written = StringIO(newline="")

    count = write_csv(results, written)

    written.seek(0)
    table = pandas.read_csv(written)
    assert count == len(table) == len(results.trials)
    assert list(table["name"]) == [trial.name for trial in results.trials]
    assert list(table["hash"][table["on_front"] == 1].sort_values()) == sorted(
        trial.hash for trial in results.front
    )
    for row, trial in zip(table.to_dict("records"), results.trials, strict=True):
        evaluation = trial.evaluation
        assert row["status"] == evaluation.status
        if "accuracy" in evaluation.values:
            assert row["accuracy"] == pytest.approx(evaluation.values["accuracy"])
            assert row["training_s"] == 2.5
        else:  # what was not trained has no accuracy, rather than one of 0
            assert pandas.isna(row["accuracy"])
        for name, value in trial.genes.items():
            assert row[f"gene.{name}"] == value
    assert results.infeasible
    assert table["gene.stem.width"].isna().sum() == 1  # the baseline has no genes
