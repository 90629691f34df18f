"""Stopping: which trainings were ended early at which rungs, and what that saved."""

from nas.report.html import Html, section, table, tag
from nas.results import RunResults
from nas.stopped import count_rungs, in_one_line


def stopped_early(results: RunResults, title: str) -> Html:
    """Returns how many trainings reached each rung and ended there."""
    rungs = count_rungs(results)
    if not rungs:
        text = "No training was to be stopped early: all were to run to the end."
        return section("stopped", title, tag("p", text))
    note = (
        "A network that others had outrun at a rung was trained no further. Its accuracy is that "
        "of few epochs, so it has no part in the front, the hypervolume or a pick; in the chart "
        "of the front it is a ring."
    )
    grid = table(
        ["rung", "reached it", "stopped there", "epochs saved"],
        [(f"epoch {each.epoch}", each.reached, each.stopped, each.saved) for each in rungs],
        numbers=(1, 2, 3),
    )
    said = tag("p", f"{in_one_line(results).capitalize()}.")
    return section("stopped", title, said, grid, tag("p", note, classes="quiet"))
