"""The report says what each class is answered with, and which networks differ at all."""

import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from nas.problem.answers import Confusion, confusion_to_json
from nas.report.classes import are_alike, differences, recalls
from nas.report.page import write_report
from nas.runs.certainty import one_answer
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.study.results import RunResults
from nas.study.status import StatusReader
from tests.nas.parts.runs import make_run, run_file

NAMES = ["healthy", "<ill>"]
ALL_HEALTHY = Confusion(2, ((0, 0, 95), (1, 0, 5)))
BOTH_FOUND = Confusion(2, ((0, 0, 90), (0, 1, 5), (1, 0, 1), (1, 1, 4)))


def with_answers(number: int, evaluation: Evaluation) -> Evaluation:
    """Odd trials know one answer, the others both classes."""
    found = ALL_HEALTHY if number % 2 else BOTH_FOUND
    return replace(evaluation, confusion=found, values={**evaluation.values, **found.scores})


def answered(folder: Path, metric: str = "accuracy") -> RunResults:
    file = run_file(trials=4, objectives=[metric, "macs"])
    results = make_run(folder, file=file, trials=4, edit=with_answers)
    record_data(results, validation=100)
    return results


def record_data(results: RunResults, validation: int) -> None:
    """Writes what a search records of its images."""
    parts = {"train": 500, "validation": validation, "test": 50}
    record = {"name": "set", "image_shape": [1, 8, 8], "class_names": NAMES, "sizes": parts}
    record |= {"mean": [0.5], "std": [0.25]}
    write_json(results.run.data_file, record | {"fingerprints": dict.fromkeys(parts, "ab")})


def page_of(results: RunResults) -> str:
    text = write_report(results).read_text()
    return re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)


def test_recalls_and_matrices_stand_in_the_report_by_name(tmp_path: Path) -> None:
    results = answered(tmp_path, "balanced_accuracy")
    tested = Confusion(2, ((0, 0, 47), (1, 1, 3)))
    rows = [
        {"hash": t.hash, "test_accuracy": 1.0, "test_confusion": confusion_to_json(tested)}
        for t in results.front
    ]
    results.run.front_file.write_text(json.dumps({"front": rows}))

    page = page_of(results)

    assert '<section id="classes">' in page
    assert "&lt;ill&gt;" in page
    assert "<ill>" not in page
    assert "80.00 %" in page  # 4 of 5
    assert "37.6 to 96.4 %" in page
    assert '<span class="wrong shade1">5</span>' in page
    assert '<span class="right shade4">47</span>' in page
    assert "test recall" not in page
    assert "test images" in page


def test_a_front_of_one_answer_is_warned_of_in_report_and_status(tmp_path: Path) -> None:
    results = answered(tmp_path)
    front = [trial.evaluation for trial in results.front]
    wanted = sum(each.confusion == ALL_HEALTHY for each in front)
    assert wanted

    status, _ = StatusReader(results.run.path).read()

    assert "every validation image with 'healthy' (accuracy 95.00 %" in status.warning
    assert escape(status.warning[1:]) in page_of(results)


def test_no_warning_where_answers_differ_or_are_not_known() -> None:
    plain = Evaluation("ab", "finished", None, {}, {})

    assert one_answer([replace(plain, confusion=BOTH_FOUND), plain], NAMES) == ""
    assert "every network of the front answers" in one_answer(
        [replace(plain, confusion=ALL_HEALTHY)], ()
    )


def test_a_score_stands_with_its_interval_in_status_and_report(tmp_path: Path) -> None:
    results = answered(tmp_path)

    status, _ = StatusReader(results.run.path).read()

    best = status.best[0]
    assert best.interval is not None
    assert best.interval == ALL_HEALTHY.interval(results.metrics[0])
    assert "95.00 % (88.8 to 97.8 %)" in page_of(results)


def test_a_run_without_answers_has_intervals_by_the_number_of_images(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=3)
    metric = results.metrics[0]
    assert results.interval(results.front[0], metric) is None

    record_data(results, validation=400)

    interval = results.interval(results.front[0], metric)
    assert interval is not None
    assert interval.holds(results.front[0].evaluation.values["accuracy"])
    assert "was not kept" in page_of(results)


def test_neighbours_that_the_images_cannot_tell_apart_are_named(tmp_path: Path) -> None:
    scores = [0.90, 0.89, 0.70]

    def edit(number: int, evaluation: Evaluation) -> Evaluation:
        values = {**evaluation.values, "accuracy": scores[number], "macs": 9.0 - number}
        return replace(evaluation, values=values)

    file = run_file(trials=3, objectives=["accuracy", "macs"])
    results = make_run(tmp_path, file=file, trials=3, edit=edit)
    record_data(results, validation=200)
    first, second, third = results.front

    assert are_alike(results, (first, second), results.metrics[0])
    assert not are_alike(results, (second, third), results.metrics[0])
    said = differences(results)
    assert "Of 2 differences in validation accuracy" in said
    assert "1 is within" in said
    assert f"{first.name} and {second.name} (1.00 points)" in said
    assert "from 200 validation images" in said


def test_many_classes_are_shown_by_their_lowest_recalls() -> None:
    cells = [(k, k, 10 - k % 9) for k in range(100)] + [
        (k, 0, k % 9) for k in range(1, 100) if k % 9
    ]
    confusion = Confusion(100, tuple(sorted(cells)))

    shown = recalls({"validation": confusion}, [f"class {k}" for k in range(100)])

    lowest = {f"class {k}" for k in np.argsort(confusion.recalls, kind="stable")[:40]}
    assert {*re.findall(r"class \d+", shown)} == lowest
