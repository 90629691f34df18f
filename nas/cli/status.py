"""``nas status`` and ``dashboard``: how far a run is, once or again and again."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from nas.cli.runs import disk_line
from nas.cli.terminal.going_on import search_line
from nas.cli.terminal.options import within
from nas.cli.terminal.style import console, metric, table
from nas.cli.terminal.text import styled
from nas.problem.formatting import duration, interval_in_words

if TYPE_CHECKING:
    from nas.study.liveness import Driver, Sighting
    from nas.study.results import RunResults
    from nas.study.status import Status, StatusReader

EVERY_S = 2.0
MOST_ROWS = 8  # of a table that would fill the screen


def status_command(
    run: Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until the search ends, or Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line each time.")] = False,
    ahead: Annotated[
        bool,
        typer.Option(
            "--outlook/--no-outlook",
            help="Tell what the next trials are expected to bring (not with --watch).",
        ),
    ] = True,
) -> None:
    """Show how far a run is; works while it searches and after its search died."""
    from nas.study.status import StatusReader

    reader = StatusReader(run)
    try:
        if watch:
            watch_on(reader, as_json)
            return
        status, results = reader.read()
        if as_json:
            typer.echo(in_json(status, outlook_json(results) if ahead else None))
            return
        console.print(drawn(status, results, outlook_line(results) if ahead else ""))
    except KeyboardInterrupt:
        return  # it changed nothing, so nothing was stopped


def watch_on(reader: "StatusReader", as_json: bool) -> None:
    """Shows the status as it changes, until nobody searches any more."""
    if as_json or not console.is_terminal:
        print_changes(reader, in_json if as_json else in_one_line)
        return
    status, results = reader.read()
    with Live(drawn(status, results), console=console, auto_refresh=False) as live:
        while status.state == "searching":
            sleep(EVERY_S)
            status, results = reader.read()
            live.update(drawn(status, results), refresh=True)


def print_changes(reader: "StatusReader", shown: "Callable[[Status], str]") -> None:
    last: object = None
    while True:
        status, _ = reader.read()
        news = (status.state, status.counts, status.best, status.front)
        if news != last:
            console.print(shown(status))
        last = news
        if status.state != "searching":
            return
        sleep(EVERY_S)


def in_json(status: "Status", outlook: dict[str, Any] | None = None) -> str:
    from nas.study.status import status_to_json

    return json.dumps(status_to_json(status) | ({} if outlook is None else {"outlook": outlook}))


def outlook_json(results: "RunResults") -> dict[str, Any]:
    """Returns what the next trials are expected to bring, or the reason why it is not known."""
    from nas.search.proposals.insight.outlook import outlook, outlook_check
    from search_spaces.graphs.errors import UserError

    try:
        found = asdict(outlook(results))
    except UserError as error:
        return {"reason": str(error)}
    check = outlook_check(results)
    return found | {"check": check and asdict(check)}


def outlook_line(results: "RunResults") -> str:
    found = outlook_json(results)
    if "reason" in found:
        return f"next trials: no estimate of what they bring ({found['reason']})"
    check, chance = found["check"], 100 * found["chance"]
    said = (
        f"next {found['next']} trials: expected to add {share(found['gain'])} to the hypervolume "
        f"({share(found['low'])} to {share(found['high'])}; with a chance of {chance:.0f} % "
        f"anything), as a surrogate believes that learned from {found['trials']} trials"
    )
    if check is None:
        return said
    told, came = share(check["told"]), share(check["found"])
    return f"{said}; of the last {check['trials']} it would have told {told}, and {came} came"


def share(value: float) -> str:
    """
    >>> share(0.03456), share(0.00001), share(0.5)
    ('3.5 %', '0.001 %', '50 %')
    """
    return f"{100 * value:.2g} %"


def in_one_line(status: "Status") -> str:
    best = "".join(
        f", best {each.objective} {each.mark}{metric(each.objective, each.value)}"
        for each in status.best
    )
    return (
        f"{status.run}: {status.state}, {status.done} of {status.wanted} architectures, "
        f"{trials_line(status)}{best}, left {left(status)}"
    )


def drawn(status: "Status", results: "RunResults", outlook: str = "") -> RenderableType:
    """Returns the status for people, a line or a small table for each thing.

    Args:
        outlook: What the next trials are expected to bring.
    """
    from nas.cli.search import about_latency
    from nas.runs.findings.retrained_front import heirs_in_one_line
    from nas.study.stopping import in_one_line as about_stopped

    parts: list[RenderableType] = []

    def say(line: str, style: str = "") -> None:
        parts.append(styled(line, style))

    states = {"died": "its search died", "finished": "not running", "searching": "searching"}
    state = states.get(status.state, "not running")
    say(f"{status.run}: {state}, {status.done} of {status.wanted} architectures", "bold")
    say(trials_line(status))
    if results.num_replaced:
        say(f"useless precisions replaced {results.num_replaced}")
    for said in (about_latency(results), about_stopped(results), heirs_in_one_line(results)):
        if said:
            say(said)
    for said in (
        pace_line(status, results),
        f"left: {left(status)}",
    ):  # a line each: none is wrapped
        if said:
            say(said)
    for driver in status.drivers:
        say(driver_line(driver), "" if driver.alive else "yellow")
        parts.extend(rows_of(driver) if driver.alive else ())
    for distant in status.elsewhere:
        say(distant_line(distant))
    if status.measured:
        say(f"device {status.device}: {status.measured} networks measured")
    for best, metric_ in zip(status.best, results.metrics, strict=False):
        interval = f" ({interval_in_words(best.interval)})" if best.interval else ""
        value = best.mark + metric(best.objective, best.value)
        say(f"best {metric_.title}: {value}{interval} ({best.name})")
    if status.hypervolume is not None:
        say(f"front: {status.front} networks, hypervolume {status.hypervolume:.4g}{gain(results)}")
    if outlook:
        say(outlook)
    say(disk_line(status.disk))
    if results.infeasible and not results.feasible:
        say(results.why_nothing, "yellow")
    if status.warning:
        say(status.warning, "yellow")
    if status.failures:
        made = table(">count", "infeasible because")
        for cause, count in status.failures[:MOST_ROWS]:
            made.add_row(str(count), cause)
        rest = sum(count for _, count in status.failures[MOST_ROWS:])
        if rest:
            made.add_row(str(rest), "other causes")
        parts.append(made)
    if status.ending:
        say(f"{'ends' if status.state == 'searching' else 'ended'}: {status.ending}")
    elif status.state != "searching" and (status.done < status.wanted or status.state == "died"):
        runs = status.run.parent
        where = {} if runs == Path("runs") else {"--runs": runs}
        say(f"go on with: {search_line(status.run / 'config.yaml', where)}")
    return Group(*parts)


def trials_line(status: "Status") -> str:
    counts = status.counts
    named = {
        "finished": counts.finished,
        "infeasible": counts.infeasible,
        "stopped early": counts.stopped,
        "repeated": counts.repeated,
        "interrupted": counts.interrupted,
        "under way": counts.under_way,
        "of drivers elsewhere": counts.distant,
        "left by a dead driver": counts.abandoned,
        "queued": counts.queued,
    }
    rare = ("stopped early", "of drivers elsewhere", "left by a dead driver")
    return ", ".join(f"{name} {n}" for name, n in named.items() if n or name not in rare)


def pace_line(status: "Status", results: "RunResults") -> str:
    pace = status.pace
    said = []
    if pace.recent and pace.overall:
        said += [f"{pace.recent:.3g} trials/min of late, {pace.overall:.3g} overall"]
    if results.trials:
        took = sum(sum(trial.evaluation.seconds.values()) for trial in results.trials)
        said += [f"{duration(took / len(results.trials))} per architecture on average"]
    return "; ".join(said)


def gain(results: "RunResults") -> str:
    """Returns for how long the hypervolume has not grown, and how long it may stay so."""
    count, rule = results.without_gain, results.config.search.stop
    said = f", grown {count} architectures ago" if count else ", grown with the last architecture"
    return said + (f" (the search ends at {rule.no_gain_in})" if rule else "")


def left(status: "Status") -> str:
    if status.done >= status.wanted or status.ending:
        return "nothing"
    return "unknown" if status.seconds_left is None else f"about {duration(status.seconds_left)}"


def driver_line(driver: "Driver") -> str:
    from nas.study.liveness import is_here

    it = driver.activity
    if not driver.alive:
        tasks = f"{len(it.tasks)} {'trial was' if len(it.tasks) == 1 else 'trials were'} under way"
        doing = ", ".join(f"{task.name} {task.phase}".strip() for task in it.tasks[:MOST_ROWS])
        return f"driver {it.driver} died after {it.written}; {tasks}{': ' * bool(doing)}{doing}"
    line = f"driver {it.driver}: {it.place}, {len(it.tasks)} of {it.slots} slots busy"
    # Of one on another machine this is all that is known: it may have died since.
    return line if is_here(it) else f"{line} at {it.written} by its clock"


def distant_line(distant: "Sighting") -> str:
    """Returns what is known of a driver elsewhere; that it is alive only where it was heard."""
    silence = f"nothing heard of it for {duration(distant.silent_s)}"
    known = {
        True: "alive",
        False: f"{silence}; others take over its trials",
        None: "not known from here whether it is alive"
        + (f" ({silence})" if distant.silent_s else " ('nas status --watch' listens)"),
    }
    return f"driver {distant.driver}, with another run folder: {known[distant.is_alive]}"


def rows_of(driver: "Driver") -> list[RenderableType]:
    from nas.runs.activity import now

    it = driver.activity
    made: list[RenderableType] = []
    if it.tasks:
        tasks = table("worker on", "doing", "where", ">for")
        for task in it.tasks[:MOST_ROWS]:
            cells = (task.name or task.hash[:12], task.phase, task.where)
            tasks.add_row(*cells, duration(seconds_between(task.since, now())))
        if len(it.tasks) > MOST_ROWS:
            tasks.add_row(f"and {len(it.tasks) - MOST_ROWS} more", "", "", "")
        made.append(tasks)
    if it.devices:
        devices = table("device", "where", "state", ">queue", ">measured", ">failed")
        for device in it.devices:
            counts = (device.queue, device.measured, device.failures)
            named = (device.name, device.where, device.state)
            devices.add_row(*named, *map(str, counts))
        made.append(devices)
    return made


def seconds_between(start: str, end: str) -> float:
    passed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(0.0, passed.total_seconds())


def dashboard_command(
    run: Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", callback=within(0, 65535))
    ] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the token that is asked for; or set HWNAS_TOKEN."),
    ] = None,
) -> None:
    """Open Optuna's dashboard on a run's study, until Ctrl-C; it only shows."""
    from nas.serving.sockets import open_socket, read_token, url_of
    from nas.study.attributes import is_fully_known
    from nas.study.status import StatusReader
    from search_spaces.graphs.errors import UserError

    try:
        from nas.serving.dashboard_server import dashboard_app, serve
    except ModuleNotFoundError as error:
        if error.name not in ("optuna_dashboard", "bottle"):
            raise
        raise UserError(
            f"the dashboard needs {error.name}, which is not installed: "
            "pip install '.[dashboard]' in the folder of hwnas's sources"
        ) from None
    from nas.serving.dashboard import ReadOnlyStorage

    secret = read_token(None, token_file)
    reader = StatusReader(run)
    if reader.study() is None or reader.storage is None:
        raise UserError(f"{run} has no study yet; start its search first")
    metrics = reader.config.objectives
    storage = ReadOnlyStorage(
        reader.storage,
        reader.config.name,
        [metric.name for metric in metrics],
        lambda trial: is_fully_known(trial, metrics),
    )
    app = dashboard_app(storage, secret)
    listening = open_socket(host, port, has_token=secret is not None)
    needs = " (any user name, the token as password)" if secret is not None else ""
    line = f"dashboard on {url_of(listening)}{needs}; stop with Ctrl-C"
    serve(app, listening, lambda: console.print(line))
