"""Names can hold anything: every command prints them as they are, and a terminal obeys none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.cli.terminal.text import UNSEEN, escape
from nas.problem.run_file import to_yaml
from nas.problem.search_problem import load_setting
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.runs.findings.trained import stored_trial
from nas.runs.folder import create_run
from nas.runs.summary import data_summary
from nas.study.names import BASELINE
from nas.study.results import load_results
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import save_architecture
from search_spaces.space.space import Architecture
from tests.nas.parts.command_line import nas
from tests.nas.parts.runs import file_trial, made_up, open_run_study, run_file

EVIL = "[/] [bold red]:smile: \x1b[2J\x07 \x9b1m\u202e"
NODE = "[/] [red]stem"  # what an architecture file may call one
FOLDER = "out [final] [red] \x1b]0;x\x07"


def network() -> Graph:
    net = GraphBuilder((1, 8, 8))
    x = net.add(NODE, Conv2d(8, (3, 3), (2, 2)), net.input)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10), x)
    return net.graph()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, an architecture, a run file and a device, all of evil names."""
    place = tmp_path_factory.mktemp("names")
    file = run_file(trials=2, objectives=("accuracy", "macs"))
    config, setting = file.config(), load_setting(file.config())
    architecture = Architecture(EVIL, (), network())
    model = random_model(architecture.graph, np.random.default_rng(0))
    for name in (FOLDER, "other"):
        run = create_run(place / "runs" / name, to_yaml(file))
        write_json(run.data_file, data_summary(setting.splits))
        study = open_run_study(run, config)
        found = made_up(architecture.graph, config, np.random.default_rng(0))
        study.enqueue_trial({}, user_attrs={BASELINE: EVIL})
        file_trial(run, config, study, study.ask(), architecture, found, model)
        failed = Evaluation("0123456789abcdef", "infeasible", EVIL, {"macs": 1.0}, {})
        other = replace(architecture, space="space")
        file_trial(run, config, study, study.ask(), other, failed)
    save_architecture(Architecture("a [/]", (), network()), place / "net [red].json")
    (place / "run [red].yaml").write_text(to_yaml(file))
    (place / "devices").mkdir()
    (place / "devices" / "mine.toml").write_text(
        'runtime = "onnxruntime"\ndescription = "\\u001b[2J [/] [red]desk"\n'
    )
    return place


RUN = f"runs/{FOLDER}"
SHOWN_RUN = escape(RUN)
FILES = ("--formats", "torch", "--no-measure")
COMMANDS: dict[str, tuple[list[str], str]] = {
    "front": (["front", RUN, "--csv", "all [red].csv"], escape(EVIL)),
    "csv": (["front", RUN, "--csv", "all [red].csv"], ": all [red].csv"),
    "status": (["status", RUN], escape(EVIL)),
    "runs": (["runs", "runs"], escape(FOLDER)),
    "compare": (["compare", RUN, "runs/other", "--html", "c [/].html"], escape(FOLDER)),
    "report": (["report", RUN], f"report: {SHOWN_RUN}/report.html"),
    "show": (["show", "net [red].json", "--no-times"], NODE),
    "retrain": (["retrain", RUN, "--epochs", "1"], SHOWN_RUN),
    "quantize": (
        ["quantize", RUN, "--images", "16", *FILES, "--to", "[red]q"],
        "exported to [red]q",
    ),
    "sensitivity": (["sensitivity", RUN, "--images", "16"], NODE),
    "export": (["export", RUN, *FILES, "--to", "w[/x]"], "exported to w[/x]"),
    "space": (["space", "sample", "run [red].yaml", "--save", "s [/]"], "stem"),
    "devices": (["device", "list"], "\\x1b[2J [/] [red]desk"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_names_as_they_are(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_DEVICES", str(place / "devices"))
    words, shown = COMMANDS[command]

    said = nas(*words, at=place)

    assert shown in said
    assert UNSEEN.search(said) is None


def test_every_mistake_in_a_run_file_has_a_line_of_its_own(place: Path) -> None:
    words = ["--set", "search.trials=[red]", "--set", "training.epochs=[/]"]

    first, second = nas("search", "run [red].yaml", *words, at=place, code=2).splitlines()

    assert first.startswith("error: run [red].yaml: ")
    assert second.startswith("run [red].yaml: ")
    assert UNSEEN.search(first + second) is None


@pytest.mark.parametrize(
    "words",
    [
        ("front", "no [/] run \x1b[2J\nmore"),
        ("runs", "no [/] runs \x1b[2J\nmore"),
        ("search", "no [/] file \x1b[2J\nmore"),
        ("show", "no [/] network \x1b[2J\nmore"),
        ("latency", "predict", "no [/] network \x1b[2J\nmore"),
        ("compare", RUN, "no [/] run \x1b[2J\nmore"),
    ],
)
def test_an_error_is_one_line_whatever_it_names(words: tuple[str, ...], place: Path) -> None:
    said = nas(*words, at=place, code=2)

    assert "\\x1b[2J\\x0amore" in said or "no latency model" in said  # which comes first
    assert len(said.splitlines()) == 1
    assert UNSEEN.search(said) is None


def test_a_network_of_an_evil_run_is_kept_under_a_name_that_can_be_shown(place: Path) -> None:
    results = load_results(place / "runs" / FOLDER)
    trial = next(each for each in results.trials if results.run.has_weights(each.hash))

    stored = stored_trial(results, replace(trial, baseline=EVIL))

    assert stored.name.isprintable()
    assert "[bold red]:smile:" in stored.name
