"""Page: the report of a compression as one HTML file that needs nothing from the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.compression.report.charts import curves_chart, layers_chart, scales_chart, way_chart
from nas.compression.running.folder import CompressionFolder
from nas.compression.running.records import LayerChange, Standing, StepRecord
from nas.compression.running.summary import bought, records_of, result_of
from nas.problem.answers import wilson
from nas.problem.formatting import duration, interval_in_words, milliseconds, percent, scaled
from nas.report.drawing.html import Html, card, details, facts, html, join, table, tag
from nas.report.page import Charts, document
from nas.runs.files import write_whole

ESTIMATED = "~"  # before the size of an archive that nobody wrote
TITLES = {
    "steps": "Steps",
    "way": "Accuracy and cost",
    "layers": "What each step did to the layers",
    "alone": "Accuracy with one layer changed alone",
    "scales": "Scales of batch norms",
    "learning": "Learning curves",
    "provenance": "How the numbers were made",
}


def write_compression_report(folder: CompressionFolder) -> Path:
    """Writes ``report.html`` into the folder and returns its path.

    Raises:
        UserError: If it holds no compression, a file is damaged, or the disk is full.
    """
    write_whole(folder.report_file, compression_html(folder).encode())
    return folder.report_file


def compression_html(folder: CompressionFolder) -> str:
    """Returns the report of what is over already; the recipe need not be."""
    about = folder.about()
    records = records_of(folder, about)
    original, kept = result_of(records)
    name, charts = about["recipe"].get("name", folder.path.name), Charts()
    trained = [record for record in records if record.curves]
    alone = [record for record in records if record.layer_curves]
    scales = [record for record in records if record.histograms]
    body = join(
        tag("header", tag("h1", name), opening(about, records, kept)),
        tag("nav", *(Html(f'<a href="#{key}">{html(text)}</a>') for key, text in TITLES.items())),
        headline(original, kept, archived(records)),
        part("steps", steps_table(records, kept), steps_note(records)),
        part("way", charts.add(way_chart(records, original, kept)), way_note(records)),
        part("layers", *layer_parts(records)),
        part("alone", *alone_parts(alone, charts)),
        part("scales", *scale_parts(scales, charts)),
        part("learning", charts.add(curves_chart(trained)) if trained else no("step trained")),
        part("provenance", provenance(folder, about, records)),
        tag("footer", f"Written by hwnas {about['versions'].get('hwnas', '')}."),
    )
    return document(f"{name}: compression report", body, has_charts=True)


def part(key: str, *parts: object) -> Html:
    return Html(f'<section id="{key}"><h2>{html(TITLES[key])}</h2>\n{join(*parts)}</section>')


def no(what: str) -> Html:
    return tag("p", f"No {what}.", classes="quiet")


def opening(about: dict[str, Any], records: Sequence[StepRecord], kept: StepRecord) -> Html:
    wanted = len(about["recipe"].get("steps", {}))
    done = len(records) - 1
    data = about["data"]
    sizes = data.get("sizes", {})
    text = (
        f"{about['model']} on {data.get('name', 'its data')} ({sizes.get('train', '?')} training, "
        f"{sizes.get('validation', '?')} validation, {sizes.get('test', '?')} test images). "
        f"{done} of {wanted} steps are over; the result is the network after {kept.title}."
    )
    return tag("p", text, classes="quiet")


def archived(records: Sequence[StepRecord]) -> StepRecord | None:
    """Returns the last step that wrote an archive, if one did."""
    found = [record for record in records if record.figures.get("archive_bytes") is not None]
    return found[-1] if found else None


def headline(original: StepRecord, kept: StepRecord, archive: StepRecord | None) -> Html:
    """Returns the result's numbers beside the original's."""
    before, after = original.standing, kept.standing
    times = bought(original, kept)
    sure = wilson(after.accuracy, after.num_validation)
    cards = [
        card(
            "validation accuracy",
            percent(after.accuracy),
            f"95 % interval {interval_in_words(sure)}",
            f"{0.0 - times['points']:+.2f} points ({percent(before.accuracy)})",
        )
    ]
    if after.test_accuracy is not None:
        tested = wilson(after.test_accuracy, after.num_test)
        cards.append(
            card(
                "test accuracy",
                percent(after.test_accuracy),
                f"95 % interval {interval_in_words(tested)}",
                f"the original {percent(before.test_accuracy or 0.0)}",
            )
        )
    if after.latency_ms is None or before.latency_ms is None:
        cards.append(card("latency", "-", "not measured"))
    else:
        cards.append(
            card(
                "latency",
                milliseconds(after.latency_ms),
                f"{times_of(times['latency'], 'faster', 'slower')} "
                f"({milliseconds(before.latency_ms)})",
            )
        )
    for name, title, unit in (
        ("params", "parameters", ""),
        ("macs", "multiply-accumulates", ""),
        ("bytes", "weights", "B"),
    ):
        one, other = getattr(after, name), getattr(before, name)
        note = f"{times_of(times[name])} ({scaled(other, unit)})"
        cards.append(card(title, scaled(one, unit), note))
    if archive is not None:
        size, ratio = archive.figures["archive_bytes"], archive.figures["ratio"]
        cards.append(card("archive", scaled(size, "B"), f"{ratio:.1f}x less than float32"))
    return tag("div", *cards, classes="cards")


def times_of(ratio: float, less: str = "less", more: str = "more") -> str:
    """
    >>> times_of(2.5), times_of(1.0), times_of(0.8, "faster", "slower")
    ('2.50x less', 'as before', '1.25x slower')
    """
    if ratio == 1:
        return "as before"
    return f"{ratio:.2f}x {less}" if ratio > 1 else f"{1 / ratio:.2f}x {more}"


def steps_table(records: Sequence[StepRecord], kept: StepRecord) -> Html:
    head = (
        *("step", "what it did", "validation accuracy", "test accuracy", "latency", "parameters"),
        *("MACs", "weights", "archive", "took"),
    )
    rows = [step_row(record) for record in records]
    marked = [kept.number]
    return table(head, rows, numbers=range(2, 10), wide=1, marked=marked)


def steps_note(records: Sequence[StepRecord]) -> Html:
    if not any(record.standing.archive_bytes is not None for record in records):
        return Html("")
    text = (
        f"Archive: bytes on disk as one file (*.hwz), every weight exact; {ESTIMATED} is "
        "estimated from the entropy of the weights, where no step wrote it."
    )
    return tag("p", text, classes="quiet")


def step_row(record: StepRecord) -> tuple[object, ...]:
    found = record.standing
    what = f"left out: {record.skipped}" if record.skipped else record.summary
    if record.is_kept is False and not record.skipped:
        what += "; accuracy fell too far"
    sure = interval_in_words(wilson(found.accuracy, found.num_validation))
    return (
        record.title,
        what,
        f"{percent(found.accuracy)} ({sure})",
        "" if found.test_accuracy is None else percent(found.test_accuracy),
        "-" if found.latency_ms is None else milliseconds(found.latency_ms),
        scaled(found.params),
        scaled(found.macs),
        scaled(found.bytes, "B"),
        archive_size(found),
        duration(record.seconds) if record.seconds else "",
    )


def archive_size(found: Standing) -> str:
    """Returns what a network takes as an archive, marked where that is estimated."""
    if found.archive_bytes is None:
        return "-"
    return f"{'' if found.is_archived else ESTIMATED}{scaled(found.archive_bytes, 'B')}"


def way_note(records: Sequence[StepRecord]) -> Html:
    reasons = {record.standing.not_measured for record in records} - {""}
    if not reasons:
        text = "Bars are 95 % intervals of the accuracy on the validation images."
    else:
        text = f"Not timed: {'; '.join(sorted(reasons))}."
    return tag("p", text, classes="quiet")


def layer_parts(records: Sequence[StepRecord]) -> list[Html]:
    found = [record for record in records if record.layers]
    if not found:
        return [no("step changed a layer")]
    return [
        details(f"{record.title}: {len(record.layers)} layers", layer_table(record.layers))
        for record in found
    ]


def layer_table(rows: Sequence[LayerChange]) -> Html:
    head = ("layer", "channels", "MACs", "parameters", "precision", "")
    return table(
        head,
        [
            (
                row.layer,
                arrow(*map(plain, row.channels)),
                arrow(*map(size, row.macs)),
                arrow(*map(size, row.params)),
                arrow(*map(plain, row.precision)),
                row.note,
            )
            for row in rows
        ],
        numbers=(1, 2, 3),
        wide=5,
    )


def plain(value: object) -> str:
    return "-" if value is None else str(value)


def size(value: int | None) -> str:
    return "-" if value is None else scaled(value)


def arrow(before: str, after: str) -> str:
    """
    >>> arrow("64", "32"), arrow("64", "64")
    ('64 → 32', '64')
    """
    return before if before == after else f"{before} → {after}"


def alone_parts(records: Sequence[StepRecord], charts: Charts) -> list[Html]:
    if not records:
        return [no("step changed one layer alone")]
    return [
        join(tag("h3", record.title), charts.add(layers_chart(record.layer_curves)))
        for record in records
    ]


def scale_parts(records: Sequence[StepRecord], charts: Charts) -> list[Html]:
    if not records:
        return [no("step trained sparsely")]
    parts = []
    for record in records:
        title = tag("h3", record.title)
        note = tag("p", record.summary, classes="quiet")
        parts.append(join(title, charts.add(scales_chart(record)), note))
    return parts


def provenance(
    folder: CompressionFolder, about: dict[str, Any], records: Sequence[StepRecord]
) -> Html:
    machine, versions = about["machine"], about["versions"]
    latencies = [r.standing.latency for r in records if r.standing.latency is not None]
    where = (latencies[0].get("conditions") or {}) if latencies else {}
    rows: list[tuple[str, object]] = [
        ("command", tag("code", about["command"])),
        ("started", about["started"]),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
        ("versions", ", ".join(f"{key} {value}" for key, value in versions.items())),
        (
            "latency",
            f"{where.get('runtime', '')} {where.get('runtime_version', '')} on "
            f"{where.get('device', '')}, {where.get('threads', '')} thread(s), batch of one"
            if where
            else "not measured",
        ),
        ("accuracy", "of validation images; test images play no part in any choice"),
    ]
    recipe = folder.recipe_file.read_text("utf-8")
    return join(facts(rows), details("The recipe with every default", tag("pre", recipe)))
