"""Fronts side by side: figures counted by hand, and runs whose numbers mean something else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report.compared import write_comparison
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.runs.findings.compared_runs import compare_runs, comparison_json
from nas.study.results import RunResults
from search_spaces.graphs.errors import UserError
from tests.nas.parts.runs import Edit, make_run, run_file

A = ((0.9, 4.0), (0.8, 2.0))
B = ((0.9, 5.0), (0.85, 3.0), (0.7, 1.0))


def with_values(points: Sequence[tuple[float, float]]) -> Edit:
    """Gives the trials these accuracies and latencies, one after another."""

    def edit(number: int, evaluation: Evaluation) -> Evaluation:
        accuracy, latency_ms = points[number]
        values = dict(evaluation.values) | {"accuracy": accuracy, "latency_ms": latency_ms}
        return replace(evaluation, values=values)

    return edit


def run_of(
    folder: Path, points: Sequence[tuple[float, float]], name: str = "a", **changes: object
) -> RunResults:
    file = run_file(name=name, trials=len(points), **changes)  # type: ignore[arg-type]
    return make_run(folder, file=file, trials=len(points), edit=with_values(points))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, RunResults]]:
    folder = tmp_path_factory.mktemp("runs")
    return [("a", run_of(folder, A)), ("b", run_of(folder, B, "b"))]


def test_hypervolumes_have_one_reference_and_it_is_counted_who_beats_whom(
    runs: list[tuple[str, RunResults]],
) -> None:
    found = compare_runs(runs)

    assert found.reference == (0.7, 5.0)  # the worst of both fronts
    # 0.2 x 1 and 0.1 x 2 more; 0.15 x 2, as two of the three lie on the reference's edges
    assert found.hypervolumes == pytest.approx((0.4, 0.3))
    assert [found.on_joint_front(run) for run in (0, 1)] == [2, 2]
    assert (found.beats(0, 1), found.beats(1, 0)) == (1, 0)
    order = [(point.run, *point.trial.evaluation.values.values()) for point in found.points]
    assert [point[0] for point in order] == [0, 1, 1, 0, 1]


def test_equal_networks_beat_each_other_not(tmp_path: Path) -> None:
    same = [(name, run_of(tmp_path, A, name)) for name in ("a", "b")]

    found = compare_runs(same)

    assert all(point.beaten_by == () for point in found.points)


def test_a_reference_that_all_run_files_agree_on_is_taken(tmp_path: Path) -> None:
    given = {"reference": {"latency_ms": 10.0}}
    both = [(name, run_of(tmp_path, A, name, **given)) for name in ("a", "b")]
    one = [both[0], ("c", run_of(tmp_path, A, "c"))]

    assert compare_runs(both).reference == (0.8, 10.0)
    assert compare_runs(one).reference == (0.8, 4.0)


def test_a_run_without_a_feasible_network_is_compared_too(
    tmp_path: Path, runs: list[tuple[str, RunResults]]
) -> None:
    none = run_of(tmp_path, A, constraints=["macs <= 1"])

    found = compare_runs([runs[1], ("none", none)])

    assert found.hypervolumes[1] == 0
    assert found.differences == (
        "constraints: [] -> ['macs <= 1']",
        "search.trials: 3 -> 2",
    )
    with pytest.raises(UserError, match="none of none has a feasible network yet"):
        compare_runs([("none", none)])


def test_numbers_that_mean_something_else_are_refused_in_one_line(
    tmp_path: Path, runs: list[tuple[str, RunResults]]
) -> None:
    other = {
        "objectives: accuracy, macs; there: accuracy, latency_ms": run_of(
            tmp_path, A, "metrics", objectives=("accuracy", "macs")
        ),
        "device: host-onnxruntime; there: host": run_of(
            tmp_path, A, "device", latency={"device": "host-onnxruntime"}
        ),
    }
    for message, results in other.items():
        with pytest.raises(UserError, match="x cannot be compared with a: its") as error:
            compare_runs([runs[0], ("x", results)])
        assert message in str(error.value)

    one, two = (run_of(tmp_path, A, name) for name in ("one", "two"))
    for results, key in ((one, "0123456789"), (two, "9876543210")):
        write_json(results.run.data_file, {"fingerprints": {"validation": key}})
    with pytest.raises(UserError, match="images: validation 98765432; there: validation 01234567"):
        compare_runs([("one", one), ("two", two)])


def test_runs_of_two_machines_are_refused(
    tmp_path: Path, runs: list[tuple[str, RunResults]]
) -> None:
    def elsewhere(number: int, evaluation: Evaluation) -> Evaluation:
        latency = evaluation.latency
        assert latency is not None
        assert latency.conditions is not None
        how = replace(latency.conditions, cpu="Other CPU")
        return replace(evaluation, latency=replace(latency, conditions=how))

    other = make_run(tmp_path, trials=2, edit=elsewhere)

    with pytest.raises(UserError, match="machine: Other CPU with tvm; there: Example CPU 9000"):
        compare_runs([runs[0], ("x", other)])


def test_the_page_has_every_point_and_escapes_names(
    tmp_path: Path, runs: list[tuple[str, RunResults]]
) -> None:
    found = compare_runs([("<b>a", runs[0][1]), ("b", runs[1][1])])
    write_comparison(found, tmp_path / "page.html")

    page = (tmp_path / "page.html").read_text()

    assert "<b>a" not in page
    assert page.count("85.00 %") >= 1
    assert '"symbol":["circle-open","circle","circle"]' in page  # one of b's is beaten
    assert [row["run"] for row in comparison_json(found)["runs"]] == ["<b>a", "b"]
