"""Network on its way out: what is told of it, whether a run's trial or a model folder has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latency_models.devices.latency import Latency
from nas.data.splits import Splits
from nas.export.retrain import load_retrained
from nas.models.folder import ModelInput, StoredModel
from nas.models.metadata import printable
from nas.problem.records import LatencyConfig
from nas.problem.search_problem import Examples
from nas.runs.findings.trained import weights_of_search
from nas.runs.summary import check_same_data
from nas.study.results import RunResults, TrialResult
from nas.training.accuracy import accuracy
from search_spaces.building.choice import Value
from search_spaces.graphs.model import Model
from search_spaces.space.architecture import graph_hash
from search_spaces.space.space import Architecture


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network to be shipped or quantized.

    Attributes:
        title: What its README is headed with.
        architecture: As trained.
        input: How an image becomes its input, as far as that is known.
        class_names: None where they are not known.
        weights: Where they come from, and their validation accuracy, as JSON-ready data.
        latency: Where and how its files are timed.
        hash: Of the graph that was searched or imported.
        run: Name of the run that found it; None for a model folder.
        trial: Its number there.
        genes: Its decisions there.
        searched: What the search saw.
    """

    title: str
    name: str
    architecture: Architecture
    model: Model
    input: ModelInput
    class_names: tuple[str, ...] | None
    weights: Mapping[str, Any]
    latency: LatencyConfig
    hash: str
    run: str | None = None
    trial: int | None = None
    genes: Mapping[str, Value] = field(default_factory=dict)
    searched: Latency | None = None

    @property
    def stored(self) -> StoredModel:
        """The network as it is kept where its files are read as a model again."""
        name = printable(f"{self.run} {self.name}" if self.run else self.name)
        source = {"from": "export", "run": self.run, "weights": dict(self.weights)}
        return StoredModel(name, self.model, self.input, self.class_names, source)

    @property
    def num_classes(self) -> int:
        return self.model.graph.output.shape[0]


def network_of_trial(
    results: RunResults, trial: TrialResult, splits: Splits, *, retrained: bool = False
) -> TrainedNetwork:
    """Returns the network of a trial.

    Args:
        splits: The run's data, as it is now.
        retrained: Takes the weights of ``nas retrain`` instead of those of the search.

    Raises:
        UserError: If it was not trained, or the data is not what the run saw.
    """
    model, weights = weights_of(results, trial, retrained)
    check_same_data(results.run.data_file, splits)
    norm, pictures = splits.normalization, results.config.data.settings
    return TrainedNetwork(
        title=f"{results.config.name}: {trial.name}",
        name=trial.name,
        architecture=results.run.load_architecture(trial.hash),
        model=model,
        input=ModelInput(
            mean=norm.mean,
            std=norm.std,
            image_shape=splits.train.image_shape,
            fit=pictures.get("fit"),
            background=pictures.get("background"),
        ),
        class_names=splits.train.class_names,
        weights=weights,
        latency=results.config.latency,
        hash=trial.hash,
        run=results.config.name,
        trial=trial.number,
        genes=trial.genes,
        searched=trial.evaluation.latency,
    )


def network_of_model(
    stored: StoredModel,
    examples: Examples | None = None,
    latency: LatencyConfig = LatencyConfig(),  # noqa: B008  (frozen)
) -> TrainedNetwork:
    """Returns the network of a model folder.

    Args:
        stored: Where there are examples, as `nas.models.examples.examples_of` gives it.
        examples: What its validation accuracy is of; None leaves that unknown.
    """
    model = stored.model
    scored = None if examples is None else accuracy(model, examples.tensors.validation)
    return TrainedNetwork(
        title=stored.name,
        name=stored.name,
        architecture=Architecture(stored.name, (), model.graph),
        model=model,
        input=stored.input,
        class_names=stored.class_names,
        weights={
            "from": stored.source.get("from", "a model folder"),
            "epochs": None,
            "validation_accuracy": scored,
            "source": dict(stored.source),
        },
        latency=latency,
        hash=graph_hash(model.graph),
    )


def weights_of(
    results: RunResults, trial: TrialResult, retrained: bool
) -> tuple[Model, dict[str, Any]]:
    """Returns the trained model, and where its weights come from."""
    if retrained:
        model, found = load_retrained(results.run, trial.hash)
        return model, {
            "from": "retraining",
            "epochs": found.epochs,
            "validation_accuracy": found.validation_accuracy,
        }
    return results.run.load_model(trial.hash), weights_of_search(trial)
