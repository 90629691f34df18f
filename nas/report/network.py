"""Network: the section that takes the chosen network apart, kernel by kernel."""

from latency_models.measurement.layer_table import LayerRow, layer_rows
from nas.problem.formatting import percent, scaled
from nas.report.drawing.html import Html, join, section, table, tag
from nas.runs.findings.kernel_times import KernelTimes, load_kernel_times
from nas.study.results import RunResults, TrialResult
from search_spaces.graphs.cost import network_cost
from search_spaces.space.space import describe_genes


def chosen_network(results: RunResults, chosen: TrialResult | None) -> Html:
    """Returns genes and per-layer table of the chosen network."""
    if chosen is None:
        return section("network", tag("p", "None is feasible yet."))
    graph = results.run.load_architecture(chosen.hash).graph
    times = load_kernel_times(results.run, chosen.hash)
    rows = layer_rows(graph, times.layers if times else None)
    cost = network_cost(graph)
    parts: list[object] = [tag("p", f"{chosen.name}, hash {chosen.hash}.")]
    if chosen.genes:
        parts.append(tag("pre", describe_genes(chosen.genes.items())))
    fp32_ms = times.layers.fp32_ms if times else None
    head = ["layer", "operator", "precision", "output"]
    foot: list[object] = ["total", f"{len(rows)} kernels", "", ""]
    if times:  # before the costs, so that no screen cuts them off
        head += ["us", "share"]
        foot += [microseconds(sum(times.layers.ms.values())), ""]
    if fp32_ms is not None:
        head.append("us in fp32")
        foot.append(microseconds(sum(fp32_ms.values())))
    if times:
        head.append("instruction")
        foot.append("")
    head += ["MACs", "bytes moved", "weights", "params"]
    foot += [scaled(cost.macs), scaled(cost.memory_access_bytes, "B")]
    foot += [scaled(cost.weight_bytes, "B"), scaled(cost.params)]
    longest = max((row.share or 0.0 for row in rows), default=0.0) if times else None
    cells = [layer_cells(row, longest, fp32_ms is not None) for row in rows]
    texts = ("layer", "operator", "precision", "output", "share", "instruction")
    numbers = [column for column, name in enumerate(head) if name not in texts]
    parts.append(table(head, cells, numbers=numbers, foot=foot))
    parts.append(tag("p", layer_note(times, chosen), classes="quiet"))
    return section("network", *parts)


def layer_cells(row: LayerRow, longest: float | None, beside_fp32: bool) -> list[object]:
    """Returns a row of the per-layer table; ``longest`` is the largest share, where timed."""
    operator, plus, fused = row.operator.partition(" + ")
    shape = "x".join(map(str, row.shape))
    cells: list[object] = [row.name, f"{operator} {row.window}".rstrip() + plus + fused]
    cells += [row.precision, shape]
    if longest is not None:
        cells += [*time_cells(row, longest), *([fp32_cell(row)] if beside_fp32 else [])]
        cells.append(row.instruction)
    moved, weights = scaled(row.memory_access_bytes, "B"), scaled(row.weight_bytes, "B")
    return [*cells, scaled(row.macs), moved, weights, scaled(row.params)]


def time_cells(row: LayerRow, longest: float) -> list[object]:
    """Returns what a layer takes, and its share as a bar and a number."""
    if row.ms is None or row.share is None:
        return ["not measured" if row.memory_access_bytes else "in place", ""]
    width = 4 * row.share / longest if longest else 0.0
    bar = Html(f'<span class="share" style="width:{width:.3f}rem"></span>')
    return [microseconds(row.ms), join(bar, percent(row.share))]


def fp32_cell(row: LayerRow) -> object:
    """Returns what the layer takes in float32, marked where its fewer bits gain no time."""
    if row.fp32_ms is None:
        return ""
    text = microseconds(row.fp32_ms)
    return f"{text} (no faster)" if row.is_no_faster else text


def microseconds(ms: float) -> str:
    """
    >>> microseconds(0.0001234), microseconds(12.3)
    ('0.123', '12,300')
    """
    value = 1e3 * ms
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def layer_note(times: KernelTimes | None, chosen: TrialResult) -> str:
    """Returns what the times of the table are, and how they sum up."""
    note = "Each row is one kernel as it runs: convolution, norm, residual sum and activation."
    if times is None:
        return f"{note} Kernels were not timed one by one."
    note += (
        f" Each was timed alone in {times.runtime} on {times.device} ({times.date}); the sum "
        "leaves out what the runtime and the caches cost between kernels."
    )
    if times.layers.fp32_ms is not None:
        note += " Beside them stands the same layer in the same network, all of it in float32."
    whole = chosen.evaluation.values.get("latency_ms")
    if whole is None:
        return note
    kind = "predicted" if chosen.evaluation.is_predicted else "measured"
    ratio = sum(times.layers.ms.values()) / whole
    return f"{note} Their sum is {ratio:.2f} times the {kind} latency."
