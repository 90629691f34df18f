"""Classes: what networks of the front answer to each class, and which of them differ at all."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from nas.problem.answers import Confusion, wilson
from nas.problem.formatting import interval_in_words, percent
from nas.problem.metrics import Metric
from nas.report.drawing.html import Html, details, join, section, table, tag
from nas.runs.certainty import class_names, num_images
from nas.study.results import RunResults, TrialResult

MOST_CLASSES = 20  # of a matrix that a page can show
MOST_ROWS = 40
SHADES = 4


def classes(results: RunResults, chosen: TrialResult | None) -> Html:
    """Returns recalls and confusion matrices of the front's networks, the chosen one unfolded."""
    front = [trial for trial in results.front if trial.evaluation.confusion is not None]
    if not front:
        text = "What networks answer to each class was not kept, or nothing is feasible yet."
        return section("classes", tag("p", text))
    note = (
        "Recall is the share of a class that is answered with it; balanced accuracy is its mean "
        "over the classes, whatever their sizes. In a matrix, rows are the true classes and "
        "columns the answers; what is not on the diagonal is wrong."
    )
    parts: list[object] = [tag("p", note)]
    for trial in sorted(front, key=lambda trial: trial != chosen):
        content = answers_of(results, trial)
        if trial == chosen:
            parts += [tag("h3", f"Knee of the front: {trial.name}"), content]
        else:
            parts.append(details(title_of(trial), content))
    return section("classes", *parts)


def title_of(trial: TrialResult) -> str:
    confusion = trial.evaluation.confusion
    assert confusion is not None
    return (
        f"{trial.name}: accuracy {percent(confusion.accuracy)}, balanced "
        f"{percent(confusion.balanced_accuracy)}, lowest recall "
        f"{percent(float(np.nanmin(confusion.recalls)))}"
    )


def answers_of(results: RunResults, trial: TrialResult) -> Html:
    """Returns what one network answers on the validation and, where scored, on the test images."""
    found = {
        "validation": trial.evaluation.confusion,
        "test": results.test_confusions.get(trial.hash),
    }
    known = {split: confusion for split, confusion in found.items() if confusion is not None}
    names = names_of(results, next(iter(known.values())).num_classes)
    parts = [recalls(known, names)]
    for split, confusion in known.items():
        small = confusion.num_classes <= MOST_CLASSES
        parts.append(tag("p", f"{split} images: {'answers' if small else 'the most mistakes'}"))
        parts.append(matrix(confusion, names) if small else mistakes(confusion, names))
    return join(*parts)


def names_of(results: RunResults, num_classes: int) -> tuple[str, ...]:
    """Returns the classes' names; their numbers where the run did not record as many."""
    names = class_names(results.run)
    return names if len(names) == num_classes else tuple(map(str, range(num_classes)))


def recalls(known: dict[str, Confusion], names: Sequence[str]) -> Html:
    """Returns a row a class, the lowest recall first where there are many."""
    first = next(iter(known.values()))
    order = list(range(len(names)))
    if len(names) > MOST_ROWS:
        order = np.argsort(np.nan_to_num(first.recalls, nan=2.0), kind="stable").tolist()
        order = order[:MOST_ROWS]
    head, columns = ["class"], []
    for split, confusion in known.items():
        head += [f"{split} images", "recall", "95 % interval"]
        columns.append((confusion.class_sizes, confusion.recalls))
    rows = []
    for row in order:
        cells = [names[row]]
        for sizes, shares in columns:
            cells += recall_cells(float(shares[row]), int(sizes[row]))
        rows.append(cells)
    grid = table(head, rows, numbers=range(1, len(head)))
    if len(rows) == len(names):
        return grid
    return join(tag("p", f"The {len(rows)} classes of lowest recall, of {len(names)}:"), grid)


def recall_cells(share: float, size: int) -> list[str]:
    if size == 0:
        return ["0", "", ""]
    return [str(size), percent(share), interval_in_words(wilson(share, size))]


def matrix(confusion: Confusion, names: Sequence[str]) -> Html:
    """Returns a confusion matrix, shaded by the share of its row."""
    counts, sizes = confusion.matrix, confusion.class_sizes
    rows = []
    for row, name in enumerate(names):
        found = enumerate(counts[row])
        rows.append([name, *(cell(int(n), int(sizes[row]), row == to) for to, n in found)])
    return table(["class", *names], rows, numbers=range(1, len(names) + 1))


def cell(count: int, size: int, is_right: bool) -> Html:
    if count == 0:
        return Html("")
    shade = ceil(SHADES * count / size)
    return tag("span", count, classes=f"{'right' if is_right else 'wrong'} shade{shade}")


def mistakes(confusion: Confusion, names: Sequence[str]) -> Html:
    """Returns which classes are taken for which others most often."""
    sizes = confusion.class_sizes
    wrong = [each for each in confusion.cells if each[0] != each[1]]
    wrong.sort(key=lambda each: -each[2])
    rows = [
        (names[row], names[answer], count, percent(count / int(sizes[row])))
        for row, answer, count in wrong[:MOST_ROWS]
    ]
    head = ["class", "is taken for", "images", "share of the class"]
    return table(head, rows, numbers=(2, 3))


def differences(results: RunResults) -> Html:
    """Returns which neighbours on the front the validation images do not tell apart."""
    metric = next((each for each in results.metrics if each.is_quality), None)
    front = results.front
    if metric is None or len(front) < 2:
        return Html("")
    ordered = sorted(front, key=lambda trial: -trial.evaluation.values[metric.name])
    pairs = list(pairwise(ordered))
    alike = [pair for pair in pairs if are_alike(results, pair, metric)]
    count = num_images(results.run, "validation")
    rule = f"the 95 % interval of either{f', from {count} validation images' if count else ''}"
    if not alike:
        if results.interval(ordered[0], metric) is None:
            return Html("")
        text = f"No difference in {metric.title} between neighbours on the front is within {rule}."
        return tag("p", text)
    said = ", ".join(f"{a.name} and {b.name} ({points(a, b, metric)})" for a, b in alike)
    return tag(
        "p",
        f"Of {len(pairs)} differences in {metric.title} between neighbours on the front, "
        f"{len(alike)} {'is' if len(alike) == 1 else 'are'} within {rule}: {said}.",
    )


def are_alike(results: RunResults, pair: tuple[TrialResult, TrialResult], metric: Metric) -> bool:
    """Whether the score of one lies in the interval of the other."""
    values = [trial.evaluation.values[metric.name] for trial in pair]
    intervals = [results.interval(trial, metric) for trial in pair]
    return any(
        interval is not None and interval.holds(value)
        for interval, value in zip(intervals, reversed(values), strict=True)
    )


def points(better: TrialResult, worse: TrialResult, metric: Metric) -> str:
    apart = better.evaluation.values[metric.name] - worse.evaluation.values[metric.name]
    return f"{100 * apart:.2f} points"
