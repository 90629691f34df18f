"""Subject: what a command works on, a trial of a run or a trained network that is given."""

from dataclasses import dataclass, replace
from pathlib import Path

from latency_models.devices.device import get_device
from nas.export.network import TrainedNetwork, network_of_model, network_of_trial
from nas.models.examples import examples_of
from nas.models.given.reading import is_one_model, read_model
from nas.problem.data_paths import check_there, moved
from nas.problem.records import LatencyConfig
from nas.problem.run_file import read_data
from nas.problem.search_problem import Examples, load_setting
from nas.runs.folder import has_run
from nas.study.results import RunResults, TrialResult, load_results
from search_spaces.graphs.errors import UserError


@dataclass(frozen=True, slots=True)
class Asked:
    """Which network is meant.

    Attributes:
        path: A run, a model folder, an export or an archive.
        pick: Which trial of a run; None takes the knee.
        data: Of a run: where its data lies now. Of a model: a run or YAML file whose data it is.
        device: What its files are timed on; None takes the run's, or this machine.
    """

    path: Path
    pick: str | None = None
    max_latency_ms: float | None = None
    data: str | None = None
    device: str | None = None
    retrained: bool = False


def with_data(results: RunResults, path: str | None) -> RunResults:
    """Returns the results of a run, its data at ``path`` where that is given.

    Raises:
        UserError: If the data is not there.
    """
    config = results.config
    if path is not None:
        config = replace(config, data=moved(config.data, path))
    check_there(config.data, results.run.path)
    return replace(results, config=config)


def subject_of(asked: Asked) -> tuple[TrainedNetwork, Examples | None]:
    """Returns a network, and its images where there are any.

    Raises:
        UserError: If there is no such network, or its data cannot be had.
    """
    if asked.device is not None:
        get_device(asked.device)
    if is_one_model(asked.path) and not has_run(asked.path):
        return model_of(asked)
    results = with_data(load_results(asked.path), asked.data)
    trial = picked(results, asked)
    setting = load_setting(results.config)
    network = network_of_trial(results, trial, setting.splits, retrained=asked.retrained)
    return replace(network, latency=timed_by(network.latency, asked.device)), setting.examples


def model_of(asked: Asked) -> tuple[TrainedNetwork, Examples | None]:
    if asked.pick is not None or asked.max_latency_ms is not None or asked.retrained:
        raise UserError(
            f"{asked.path} is one model; --pick, --max-latency-ms and --retrained are for runs, "
            "leave them out"
        )
    stored, examples = read_model(asked.path), None
    if asked.data is not None:
        stored, examples = examples_of(stored, read_data(Path(asked.data)))
    return network_of_model(stored, examples, timed_by(LatencyConfig(), asked.device)), examples


def picked(results: RunResults, asked: Asked) -> TrialResult:
    return results.pick(asked.pick or "knee", asked.max_latency_ms)


def timed_by(config: LatencyConfig, device: str | None) -> LatencyConfig:
    """Returns a configuration that times on another device, where one is given."""
    return config if device is None else replace(config, device=device, runtime=None)
