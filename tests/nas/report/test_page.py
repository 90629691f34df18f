"""The HTML report and the picture, drawn from small runs."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from latency_models.devices.latency import Latency
from latency_models.measurement.layer_table import layer_rows
from nas.problem.metrics import METRICS
from nas.report.curves import curves_chart, spread
from nas.report.drawing.axes import AxisScale, Box, Plane, place_labels, planes
from nas.report.drawing.picture import save_front_picture
from nas.report.page import write_report
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.runs.findings.baselines import baseline_rows, best_baseline, dominates, infeasible_reasons
from nas.runs.findings.importance import gene_importance, trials_needed
from nas.runs.findings.kernel_times import kernel_times_file
from nas.runs.lock import lock_run
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.errors import UserError
from tests.nas.parts.browser import drawn, needs_browser
from tests.nas.parts.latencies import measured, predicted
from tests.nas.parts.runs import SPACE, baseline, make_run, run_file

BASELINES = {"tiny_net": baseline("tiny_net", 8), "small_net": baseline("small_net", 20)}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return make_run(tmp_path_factory.mktemp("run"), trials=30, baselines=BASELINES)


def written(results: RunResults) -> str:
    """The report without the inlined library and style."""
    page = write_report(results).read_text()
    return re.sub(r"<(script|style)>.*?</\1>", "", page, count=2, flags=re.DOTALL)


class Text(HTMLParser):
    """Collects what a reader sees, and the tags that stay open."""

    VOID = ("meta", "link", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and data.strip():
            self.seen.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.seen)


def test_the_report_is_one_file_that_asks_the_network_for_nothing(results: RunResults) -> None:
    page = written(results)
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=\"(?!data:)", page)
    assert results.run.report_file.stat().st_size > 3e6  # Plotly itself is in it


def test_the_report_is_well_formed_and_has_every_section(results: RunResults) -> None:
    page = Text(written(results))
    assert page.open == []
    for title in ("Pareto front", "Chosen network", "Baselines", "Progress", "Gene importance"):
        assert title in page.text
    knee = results.pick("knee")
    assert f"Knee of the front: {knee.name}" in page.text
    assert f"{100 * knee.evaluation.values['accuracy']:.2f} %" in page.text
    for row in layer_rows(results.run.load_architecture(knee.hash).graph):
        assert row.name in page.text


def with_curves(number: int, evaluation: Evaluation) -> Evaluation:
    """Makes networks learn for three epochs."""
    if not evaluation.feasible:
        return evaluation
    accuracy = evaluation.values["accuracy"]
    history = (accuracy / 3, accuracy / 2, accuracy)
    return replace(evaluation, accuracy_history=history, epochs=3)


def test_learning_curves_are_those_of_the_front_and_of_the_others(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=10, edit=with_curves)
    knee = results.pick("knee")
    front = [trial for trial in results.front if trial != knee]
    others = [trial for trial in results.trials if trial not in results.front]

    figure = curves_chart(results.front, others, knee)

    heights = {trace.name: trace.y for trace in figure.data}
    assert list(heights) == ["off the front", "front", f"knee: {knee.name}"]
    assert heights[f"knee: {knee.name}"] == (*knee.evaluation.accuracy_history, None)
    assert len(heights["front"]) == 4 * len(front)  # three epochs and a gap each
    assert len(heights["off the front"]) == 4 * len(others)
    assert "Learning curves" in Text(written(results)).text


def test_curves_of_one_epoch_are_not_drawn_and_of_many_networks_some(
    results: RunResults,
) -> None:
    assert "no network was trained for more" in Text(written(results)).text.lower()
    trials = results.trials
    assert spread(trials, 4) == [trials[n * len(trials) // 4] for n in range(4)]
    assert spread(trials[:3], 4) == list(trials[:3])


def test_measured_kernels_stand_in_the_per_layer_table(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=3)
    assert "not timed one by one" in written(results)
    key = results.pick("knee").hash
    names = [row.name for row in layer_rows(results.run.load_architecture(key).graph)]
    path = kernel_times_file(results.run, key)
    times = {"kernels_ms": dict.fromkeys(names, 0.0123)}
    path.parent.mkdir()
    path.write_text(json.dumps({"runtime": "tvm", "device": "host", "date": "today", **times}))
    text = Text(written(results)).text
    assert text.count(" 12.3 ") == len(names)
    assert "timed alone in tvm on host (today)" in text
    heads = ["layer", "operator", "precision", "output", "us", "share", "instruction", "MACs"]
    assert " ".join(heads) in text  # times stand where no screen of a usual width ends


def test_low_bit_layers_stand_beside_their_times_in_float32(tmp_path: Path) -> None:
    space = SPACE | {"stages": [SPACE["stages"][1] | {"depth": 1, "precision": "w4a8"}]}
    results = make_run(tmp_path, file=run_file(space=space, trials=3), trials=3)
    text = Text(written(results)).text
    assert "w4a8" in text
    assert "w8a8" in text  # its depthwise convolution
    key = results.pick("knee").hash
    names = [row.name for row in layer_rows(results.run.load_architecture(key).graph)]
    layer = "stage0.layer0.pointwise"
    assert layer in names
    path = kernel_times_file(results.run, key)
    times = {
        "kernels_ms": dict.fromkeys(names, 0.0123),
        "instructions": {layer: "vpdpbusd"},
        "fp32_ms": {layer: 0.0456, "stem": 0.0789, "stage0.layer0.depthwise": 0.0111},
    }
    path.parent.mkdir()
    path.write_text(json.dumps({"runtime": "tvm", "device": "host", "date": "today", **times}))

    text = Text(written(results)).text

    assert text.count("vpdpbusd") == 1
    assert "us in fp32" in text
    assert "45.6" in text
    assert text.count("(no faster)") == 1  # the depthwise convolution
    assert "11.1 (no faster)" in text


def test_the_summary_says_what_became_of_useless_precisions(tmp_path: Path) -> None:
    space = SPACE | {"head": {"precision": ["fp32", "w8a8"]}}
    results = make_run(tmp_path, file=run_file(space=space, trials=3), trials=3)
    assert "0 useless precisions were replaced" in Text(written(results)).text
    text = Text(written(replace(results, num_replaced=2))).text
    assert "2 useless precisions were replaced" in text


def test_a_run_without_choice_of_precision_does_not_speak_of_useless_ones(
    results: RunResults,
) -> None:
    assert "seless precisions" not in Text(written(results)).text


def test_every_number_says_how_it_was_made(results: RunResults) -> None:
    text = Text(written(results)).text
    for fact in ("Example CPU 9000", "tvm 0.27.0", "median of at least 40 runs", "1.05 to 1.05"):
        assert fact in text
    for fact in ("surrogate, 20 random", "learning rate", "python", "cores"):
        assert fact in text


def test_what_comes_from_files_cannot_become_mark_up(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b>"

    def broken(number: int, evaluation: Evaluation) -> Evaluation:
        if number != 3:
            return evaluation
        return replace(evaluation, status="infeasible", reason=evil)

    results = make_run(tmp_path, trials=6, baselines={evil: baseline("x", 8)}, edit=broken)
    page = write_report(results).read_text()
    assert "<script>alert" not in page
    assert "alert(1)" in page
    assert "<script>alert" not in save_front_picture(results, tmp_path / "a.svg").read_text()


def test_passwords_of_databases_stay_out_of_the_report(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=2)
    text = results.run.config_file.read_text() + "# postgresql+psycopg://me:secret@host/db\n"
    results.run.config_file.write_text(text)
    page = write_report(results).read_text()
    assert "me:***@host" in page
    assert "secret" not in written(results)


def test_a_run_with_one_architecture_has_a_report(tmp_path: Path) -> None:
    text = Text(written(make_run(tmp_path, trials=1))).text
    assert f"Too few architectures for an estimate: it takes {trials_needed()}" in text
    assert "started from no published networks" in text


def test_a_run_without_any_trial_has_a_report(tmp_path: Path) -> None:
    text = Text(written(make_run(tmp_path, trials=0, file=run_file(trials=5)))).text
    assert "No feasible architecture was found yet." in text
    assert "stopped after 0 of 5" in text


def test_a_run_without_feasible_trials_says_so_and_why(tmp_path: Path) -> None:
    file = run_file(trials=8, constraints=["latency_ms <= 0.0001"])
    results = make_run(tmp_path, trials=8, file=file)
    text = Text(written(results)).text
    assert "No feasible architecture was found yet; the closest is trial" in text
    assert "violates latency_ms <= 0.0001" in text
    with pytest.raises(UserError, match="no feasible"):
        save_front_picture(results, tmp_path / "front.svg")


@pytest.mark.slow
@pytest.mark.parametrize(
    "objectives",
    [
        ("accuracy", "macs"),
        ("latency_ms", "accuracy"),
        ("macs", "latency_ms"),
        ("accuracy", "latency_ms", "size_bytes"),
        ("accuracy", "latency_ms", "macs", "params", "memory_access_bytes"),
    ],
)
def test_any_two_or_more_objectives_have_a_report(
    tmp_path: Path, objectives: tuple[str, ...]
) -> None:
    file = run_file(trials=20, objectives=objectives)
    page = written(make_run(tmp_path, trials=20, file=file))
    # A chart for each pair with the first objective, the history, the importances, the effects.
    assert page.count('class="chart"') == len(objectives) - 1 + 3


def test_a_search_that_still_runs_says_how_far_it_is(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=4, file=run_file(trials=9))
    with lock_run(results.run):
        assert "still running: 4 of 9 architectures" in Text(written(results)).text
    assert "stopped after 4 of 9 architectures" in Text(written(results)).text


def test_test_accuracies_of_a_finished_run_stand_beside_the_front(tmp_path: Path) -> None:
    results = make_run(tmp_path, trials=3)
    assert "test accuracy" not in Text(written(results)).text
    best = results.front[0].hash
    results.run.front_file.write_text(
        f'{{"front": [{{"hash": "{best}", "test_accuracy": 0.875}}]}}'
    )
    text = Text(written(results)).text
    assert "test accuracy" in text
    assert "87.50 %" in text


def with_predictions(folder: Path, pairs: Sequence[tuple[Latency | None, Latency]]) -> RunResults:
    """A run with a budget of 2 ms whose trials were predicted and measured as given."""

    def edit(number: int, evaluation: Evaluation) -> Evaluation:
        before, after = pairs[number]
        values = {**evaluation.values, "accuracy": 0.9, "latency_ms": after.median_ms}
        return replace(evaluation, predicted=before, latency=after, values=values)

    hybrid = {"source": "hybrid"}
    file = run_file(trials=len(pairs), constraints=["latency_ms <= 2"], latency=hybrid)
    return make_run(folder, file=file, trials=len(pairs), edit=edit)


def test_predicted_latencies_stand_beside_measured_ones(tmp_path: Path) -> None:
    pairs = [
        (predicted(1.0), measured(1.05)),
        (predicted(1.5), measured(2.1)),
        (predicted(1.9), measured(1.7)),
        (predicted(3.0), predicted(3.0)),
    ]
    results = with_predictions(tmp_path, pairs)
    about = {"device": "board", "date": "2026-01-02", "readings": {"kernels": 120}}
    write_json(results.run.latency_model_file, about)

    page = written(results)

    text = Text(page).text
    for figure in ("15.03 %", "33.33 %", "66.67 %", "50.00 %"):  # errors, 10 %, interval, budget
        assert figure in text
    assert "1 of 2 accepted by prediction violate the budget when measured (50.00 %)" in text
    assert "1 were only predicted" in text
    rows = text[text.index("the worst prediction first") :]
    assert rows.index("2.1 ms") < rows.index("1.7 ms") < rows.index("1.05 ms")
    assert "-28.57 %" in rows
    for name in ("accepted, kept", "accepted, violates", "not accepted", "budget 2 ms"):
        assert f'"name":"{name}"' in page
    for fact in ("board", "2026-01-02", "kernels 120", "probability of 0.9"):
        assert fact in text
    assert page.count('class="chart"') == 3  # the front, the history, the predictions


def test_latencies_that_are_only_predicted_are_marked(tmp_path: Path) -> None:
    only = predicted(1.25)
    results = with_predictions(tmp_path, [(only, only), (None, measured(1.5))])

    text = Text(written(results)).text

    assert "~1.25 ms" in text
    assert "~1.5 ms" not in text
    assert "The latencies of 1 networks of the front are only predicted (~)" in text
    assert "none of them is measured yet" in text
    assert "1.5 ms" in text


def test_a_run_that_predicted_nothing_says_so(results: RunResults) -> None:
    text = Text(written(results)).text
    assert "No latency of this run was predicted and then measured." in text
    assert "Latency model" not in text


def test_baselines_are_compared_with_what_beats_them(results: RunResults) -> None:
    for row in baseline_rows(results):
        assert row.on_front == (row.baseline in results.front)
        assert row.on_front != bool(row.beaten_by)
        for trial in row.beaten_by:
            assert dominates(trial, row.baseline, results.metrics)
            assert not dominates(row.baseline, trial, results.metrics)
    best = best_baseline(results)
    assert best is not None
    accuracies = [trial.evaluation.values["accuracy"] for trial in results.baselines]
    assert best.evaluation.values["accuracy"] == max(accuracies)


def test_failures_that_differ_in_numbers_only_count_together(results: RunResults) -> None:
    def failed(number: int, reason: str) -> TrialResult:
        evaluation = Evaluation("h", "infeasible", reason, {}, {})
        return TrialResult(number, "h", None, {}, evaluation)

    trials = [
        failed(1, "diverged in epoch 3"),
        failed(2, "too big"),
        failed(3, "diverged in epoch 7"),
    ]
    reasons = infeasible_reasons(trials)
    assert [(count, trial.number) for _, count, trial in reasons] == [(2, 1), (1, 2)]


def test_the_genes_that_decide_are_the_most_important_conditional_or_not() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for number in range(80):
        block = str(rng.choice(["fire", "ghost"]))
        genes: dict[str, int | float | str] = {
            "stage0.layer0.block": block,
            "stage0.width": int(rng.choice([8, 16])),
            f"stage0.layer0.{block}.ratio": int(rng.choice([1, 2, 4])),
        }
        # Only a ghost block of ratio 4 is good.
        good = genes.get("stage0.layer0.ghost.ratio") == 4
        values = {"accuracy": 0.9 * good + 0.05 * rng.uniform()}
        evaluation = Evaluation(str(number), "finished", None, values, {})
        trials.append(TrialResult(number, str(number), None, genes, evaluation))
    found = gene_importance(trials, METRICS["accuracy"])
    assert found is not None
    assert found.num_trials == 80
    decisive = {"stage0.layer0.block", "stage0.layer0.ghost.ratio"}
    assert {gene for gene, _ in found.genes[:2]} == decisive
    assert sum(value for _, value in found.genes) == pytest.approx(1)
    assert all(value < 0.1 for gene, value in found.genes if gene not in decisive)
    assert {kind for kind, _ in found.kinds[:2]} == {"block", "ratio"}


def test_importance_needs_enough_trials(results: RunResults) -> None:
    enough = results.searched[: trials_needed()]
    assert gene_importance(enough, METRICS["accuracy"]) is not None
    assert gene_importance(enough[1:], METRICS["accuracy"]) is None


def test_the_staircase_bounds_every_point(results: RunResults) -> None:
    plane = planes(results.metrics)[0]
    assert (plane.x.name, plane.y.name) == ("latency_ms", "accuracy")
    corners = plane.staircase(results.feasible)
    for x, y in plane.points(results.feasible):
        attained = [corner_y for corner_x, corner_y in corners if corner_x <= x]
        assert y <= max(attained)


def test_a_staircase_goes_the_right_way_for_every_pair_of_directions(results: RunResults) -> None:
    plane = Plane(METRICS["macs"], METRICS["params"])
    corners = plane.staircase(results.feasible)
    assert corners == sorted(corners, key=lambda corner: (corner[0], -corner[1]))


def test_ticks_are_round_and_inside() -> None:
    for values in ([0.0123, 0.0124], [1.0, 1e6], [5.0], [0.9, 5.0], [2e6, 9e7]):
        scale = AxisScale.around(values, METRICS["latency_ms"])
        ticks = scale.ticks()
        assert 1 <= len(ticks) <= 7
        assert all(0 <= scale.share(tick) <= 1 for tick in ticks)
        assert all(len(f"{tick:g}") <= 8 for tick in ticks)


def test_labels_do_not_overlap_where_there_is_room() -> None:
    names = [("first", 100.0, 100.0), ("second", 104.0, 102.0), ("third", 97.0, 104.0)]
    labels = place_labels(names, [], Box(0, 0, 400, 300), font_size=12)
    for one in labels:
        for other in labels:
            assert one is other or one.box.overlap(other.box) == 0


def test_the_picture_is_an_svg_with_every_point_and_name(
    results: RunResults, tmp_path: Path
) -> None:
    path = save_front_picture(results, tmp_path / "front.svg")
    picture = ElementTree.parse(path).getroot()
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"tiny_net", "small_net", "validation accuracy", "latency (ms, logarithmic)"} <= {
        *texts
    }
    num_marks = sum(trial.baseline is None for trial in results.feasible)
    legend, knee = 2, results.pick("knee").baseline is None
    assert len(list(picture.iter(f"{SVG}circle"))) == num_marks + legend - knee
    assert "prefers-color-scheme: dark" in path.read_text()


def test_the_picture_is_svg_only(results: RunResults, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end its name in \.svg"):
        save_front_picture(results, tmp_path / "front.png")


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1100, 500])
def test_a_browser_draws_every_chart_without_an_error(
    results: RunResults, tmp_path: Path, width: int
) -> None:
    page = write_report(results).read_text()
    count = (
        "[problems, document.querySelectorAll('.js-plotly-plot .main-svg').length,"
        "document.querySelectorAll('.scatterlayer path.point').length,"
        "document.documentElement.scrollWidth]"
    )

    problems, charts, points, page_width = drawn(page, width, count, tmp_path)

    assert problems == []
    assert charts >= 3
    assert points >= len(results.feasible)
    assert page_width <= width  # nothing but tables scrolls sideways


@needs_browser
def test_times_of_layers_are_seen_without_scrolling_in_a_window_of_1400_pixels(
    tmp_path: Path,
) -> None:
    """With the widest cells that there are: long names, fused operators, times beside float32."""
    stage = {
        "depth": 1,
        "width": 64,
        "blocks": [{"inverted_residual": {"expand_ratio": 4, "se_ratio": 0.25}}],
        "precision": "w4a8",
    }
    space = SPACE | {"stages": [stage, stage]}
    results = make_run(tmp_path, file=run_file(space=space, trials=1), trials=1)
    key = results.pick("knee").hash
    names = [row.name for row in layer_rows(results.run.load_architecture(key).graph)]
    path = kernel_times_file(results.run, key)
    times = {
        "kernels_ms": dict.fromkeys(names, 1.2345),
        "instructions": dict.fromkeys(names, "vpmaddubsw"),
        "fp32_ms": dict.fromkeys(names, 0.0123),
    }
    path.parent.mkdir()
    path.write_text(json.dumps({"runtime": "tvm", "device": "host", "date": "today", **times}))
    places = (
        "[...document.querySelectorAll('#network th')].map(head => [head.textContent, "
        "head.getBoundingClientRect().right, "
        "head.closest('.scroll').getBoundingClientRect().right])"
    )

    page = write_report(results).read_text()

    heads = drawn(page, 1400, places, tmp_path)

    seen = {head for head, right, end in heads if right <= end}
    assert {"layer", "operator", "us", "share", "us in fp32", "instruction"} <= seen
