"""Trained: the network of a trial, with all that its run knows of it, as a model that is kept."""

from typing import Any

from nas.models.folder import ModelInput, StoredModel
from nas.models.metadata import printable
from nas.runs.summary import read_summary
from nas.study.results import RunResults, TrialResult


def stored_trial(results: RunResults, trial: TrialResult) -> StoredModel:
    """Returns the network of a trial as an export of it is read again, without reading its data.

    Raises:
        UserError: If its weights or the run's record of its data are missing or damaged.
    """
    known, pictures = read_summary(results.run.data_file), results.config.data.settings
    name = results.config.name
    return StoredModel(
        printable(f"{name} {trial.name}"),
        results.run.load_model(trial.hash),
        ModelInput(
            mean=tuple(known["mean"]),
            std=tuple(known["std"]),
            image_shape=tuple(known["image_shape"]),
            fit=pictures.get("fit"),
            background=pictures.get("background"),
        ),
        tuple(known["class_names"]),
        {"from": "export", "run": name, "weights": weights_of_search(trial)},
    )


def weights_of_search(trial: TrialResult) -> dict[str, Any]:
    """Returns where the weights of a trial come from, as JSON-ready data."""
    return {
        "from": "the search" if trial.evaluation.epochs else "a given model",
        "epochs": trial.evaluation.epochs,
        "validation_accuracy": trial.evaluation.values.get("accuracy"),
    }
