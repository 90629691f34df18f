"""The lines of a search: under one head, each value in its column, in terminals of any width."""

from dataclasses import replace

from nas.cli.terminal.trial_lines import trial_lines
from nas.runs.evaluation import Evaluation
from nas.search.loop import Progress
from tests.nas.parts.latencies import predicted
from tests.nas.parts.runs import run_file

WHOLE = Evaluation(
    "h",
    "finished",
    None,
    {"accuracy": 0.9765, "latency_ms": 0.0123, "macs": 1234567.0, "params": 891.0},
    {},
    seconds={"latency": 1.0, "training": 75.0},
)
BROKEN = replace(
    WHOLE,
    status="infeasible",
    reason="macs <= 1 is violated",
    values={"macs": 2e6, "params": 9e4},
    seconds={},
)


def test_values_stand_under_their_names_and_what_is_not_known_is_a_dash() -> None:
    lines = trial_lines(run_file().config(), room=None)

    said = [
        lines.head,
        lines.line(Progress(1, 2, "trial 12", WHOLE)),
        lines.line(Progress(2, 2, "a_published_net", BROKEN)),
    ]

    assert said == [
        "trial                     accuracy  latency_ms        macs      params          took",
        "trial 12                   97.65 %   0.0123 ms      1.23 M         891    1 min 16 s",
        "a_published_net                  -           -      2.00 M      90.0 k         0.0 s"
        "  infeasible: macs <= 1 is violated",
    ]


def test_a_predicted_latency_is_marked() -> None:
    lines = trial_lines(run_file().config(), room=None)
    guessed = replace(WHOLE, latency=predicted(0.0123))

    assert " ~0.0123 ms " in lines.line(Progress(1, 1, "trial 1", guessed))


def test_costs_go_where_a_terminal_is_narrow_and_objectives_never() -> None:
    config = run_file(constraints=["size_bytes <= 9000"]).config()

    wide, narrow, least = (trial_lines(config, room).metrics for room in (None, 80, 20))

    assert wide == ("accuracy", "latency_ms", "size_bytes", "macs", "params")
    assert narrow == ("accuracy", "latency_ms", "size_bytes")
    assert least == ("accuracy", "latency_ms")
    assert len(trial_lines(config, 80).head) <= 80
