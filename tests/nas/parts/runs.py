"""Small runs for tests, made through the same calls that a search makes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from latency_models.devices.latency import Conditions, Latency
from nas.evaluation.free_rules import graph_values
from nas.nn.interpreter import from_model
from nas.problem.metrics import parse_constraint, violations
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, to_yaml
from nas.problem.search_problem import Setting, load_setting, space_for
from nas.runs.evaluation import Evaluation
from nas.runs.files import write_json
from nas.runs.folder import RunFolder, create_run
from nas.runs.summary import data_summary
from nas.study.names import BASELINE, HASH
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage
from nas.study.study import open_study, suggest
from nas.training.accuracy import accuracy
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d, GlobalAvgPool, Linear
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture, decide

SPACE: dict[str, Any] = {
    "resolution": [8],
    "stem": {"width": [8, 16]},
    "stages": [
        {
            "depth": [1, 2],
            "width": [8, 16, 24],
            "stride": [1, 2],
            "blocks": ["ghost", "fire", {"inverted_residual": {"expand_ratio": [2, 4]}}],
        },
        {"depth": [1, 2], "width": [16, 32], "stride": [2], "blocks": ["depthwise_separable"]},
    ],
}
CONDITIONS = Conditions(
    device="host",
    cpu="Example CPU 9000",
    runtime="tvm",
    runtime_version="0.27.0",
    target="example",
    threads=1,
    input_shape=(1, 1, 8, 8),
    precision="fp32",
    runs=40,
    tuned=True,
    cache="warm",
    reference_ms=0.5,
    drift=1.05,
    date="2025-01-01T00:00:00+00:00",
)
Edit = Callable[[int, Evaluation], Evaluation]


def run_file(
    name: str = "digits",
    objectives: Sequence[str] = ("accuracy", "latency_ms"),
    constraints: Sequence[str] = (),
    trials: int = 12,
    **changes: Any,  # noqa: ANN401
) -> RunFile:
    data: dict[str, Any] = {
        "name": name,
        "space": SPACE,
        "objectives": list(objectives),
        "constraints": list(constraints),
        "search": {"trials": trials},
        "training": {"epochs": 1, "batch_size": 64, "device": "cpu"},
    }
    return RunFile(**data | changes)


def baseline(name: str, width: int) -> Architecture:
    """A small network that lies outside the space."""
    net = GraphBuilder((1, 8, 8))
    x = net.add("stem", Conv2d(width, (3, 3), (2, 2)), net.input)
    x = net.add("body", Conv2d(2 * width, (3, 3)), x)
    x = net.add("pool", GlobalAvgPool(), x)
    net.add("classifier", Linear(10), x)
    return Architecture(name, (), net.graph())


def made_up(graph: Graph, config: RunConfig, rng: np.random.Generator) -> Evaluation:
    """An evaluation with real costs; latency and accuracy grow with them, more or less."""
    values = {name: float(value) for name, value in graph_values(graph).items()}
    ms = 0.004 + values["macs"] / 2e8 * rng.uniform(0.8, 1.2)
    latency = Latency(ms, ms * rng.uniform(0.01, 0.06), "measured", CONDITIONS)
    values["latency_ms"] = latency.median_ms
    broken = violations(config.constraints, values)
    if any(excess > 0 for excess in broken.values()):
        rule = max(broken, key=lambda name: broken[name])
        metric = rule.partition(" ")[0]
        reason = parse_constraint(rule).broken_by(values[metric])
        return Evaluation(
            graph_hash(graph),
            "infeasible",
            reason,
            values,
            broken,
            latency,
            seconds={"latency": 1},
        )
    values["accuracy"] = float(1 - 0.12 * rng.uniform(0.4, 1) * (1e5 / values["macs"]) ** 0.3)
    return Evaluation(
        graph_hash(graph),
        "finished",
        None,
        values,
        broken,
        latency,
        epochs=1,
        accuracy_history=(values["accuracy"],),
        seconds={"cost": 0.001, "latency": 1.2, "training": 2.5},
    )


def make_run(
    folder: Path,
    *,
    file: RunFile | None = None,
    trials: int = 12,
    baselines: Mapping[str, Architecture] | None = None,
    edit: Edit = lambda number, evaluation: evaluation,
    seed: int = 0,
) -> RunResults:
    """Makes a run of ``trials`` random architectures with made-up numbers, and reads it back."""
    file = file or run_file(trials=trials)
    config = file.config()
    run = create_run(folder / config.name, to_yaml(file))
    space = space_for(config, 1, 10)
    study = open_run_study(run, config)
    rng = np.random.default_rng(seed)
    networks = dict(baselines or {})
    for network in networks:
        study.enqueue_trial({}, user_attrs={BASELINE: network})
    for number in range(len(networks) + trials):
        trial = study.ask()
        name: str | None = trial.user_attrs.get(BASELINE)
        architecture = networks[name] if name else decide(space, suggest(trial))
        evaluation = edit(number, made_up(architecture.graph, config, rng))
        file_trial(run, config, study, trial, architecture, evaluation)
    return load_results(run.path)


def open_run_study(run: RunFolder, config: RunConfig) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    return open_study(config.name, open_storage(None, run.journal), sampler, config.objectives)


def file_trial(
    run: RunFolder,
    config: RunConfig,
    study: optuna.Study,
    trial: optuna.Trial,
    architecture: Architecture,
    evaluation: Evaluation,
    model: Model | None = None,
) -> None:
    run.save_evaluation(architecture, evaluation, model.arrays if model else None)
    trial.set_user_attr(HASH, evaluation.hash)
    for rule, excess in evaluation.violations.items():
        trial.set_constraint(rule, excess)
    study.tell(trial, [evaluation.values.get(m.name, m.worst) for m in config.objectives])


def make_trained_run(folder: Path, **changes: Any) -> tuple[RunResults, Setting]:  # noqa: ANN401
    """Makes a run of one architecture whose weights are on file and whose accuracy is true."""
    file = run_file(trials=1, **changes)
    config = file.config()
    run = create_run(folder / config.name, to_yaml(file))
    setting = load_setting(config)
    write_json(run.data_file, data_summary(setting.splits))
    study = open_run_study(run, config)
    trial = study.ask()
    architecture = decide(setting.space, suggest(trial))
    model = random_model(architecture.graph, np.random.default_rng(0))
    measured = made_up(architecture.graph, config, np.random.default_rng(0))
    values = dict(measured.values)
    values["accuracy"] = accuracy(from_model(model), setting.tensors.validation)
    evaluation = Evaluation(
        measured.hash, "finished", None, values, {}, measured.latency, 1, (values["accuracy"],)
    )
    file_trial(run, config, study, trial, architecture, evaluation, model)
    return load_results(run.path), setting
