"""Provenance: how each number of a report was made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from nas.data.augmentation.settings import Augmentation
from nas.data.splits import SPLITS
from nas.problem.formatting import duration, milliseconds, percent
from nas.problem.records import RunConfig
from nas.problem.training_config import TrainingConfig
from nas.runs.files import read_json
from nas.study.results import RunResults
from nas.study.stopping import rungs_of

Facts = list[tuple[str, str]]
NOT_RECORDED = "not recorded"


def read_record(
    path: Path, read: Callable[[Path], Mapping[str, Any]] = read_json
) -> Mapping[str, Any]:
    """Returns a JSON file of the run as ``read`` reads it, empty where it was never written."""
    try:
        return read(path)
    except FileNotFoundError:
        return {}


def latency_facts(results: RunResults) -> Facts:
    """Returns the conditions that the latencies share, and the range of those that vary."""
    found = [t.evaluation.latency for t in results.trials if t.evaluation.latency is not None]
    measured = [latency for latency in found if latency.source == "measured"]
    conditions = [latency.conditions for latency in measured if latency.conditions is not None]
    if not conditions:
        return [("latency", "not measured in this run")]
    spreads = [latency.spread_ms / latency.median_ms for latency in measured]
    drifts = [condition.drift for condition in conditions]
    first = conditions[0]
    return [
        ("device", together(condition.device for condition in conditions)),
        ("processor", together(condition.cpu for condition in conditions)),
        ("runtime", together(f"{c.runtime} {c.runtime_version}" for c in conditions)),
        ("compiled for", together(c.target or "chosen by the runtime" for c in conditions)),
        ("threads", together(str(condition.threads) for condition in conditions)),
        ("precision", together(condition.precision for condition in conditions)),
        (
            "a latency is",
            f"the median of at least {min(c.runs for c in conditions)} runs of one image with "
            f"{first.cache} caches, in a process of its own; a reference kernel runs in between",
        ),
        (
            "spread (interquartile range)",
            f"{100 * median(spreads):.1f} % of the latency in the middle, "
            f"{100 * max(spreads):.1f} % at most",
        ),
        (
            "drift of the reference kernel",
            f"{min(drifts):.2f} to {max(drifts):.2f} times its best on this machine",
        ),
        ("reference kernel", f"{milliseconds(median(c.reference_ms for c in conditions))}"),
        ("measured", span(sorted(condition.date for condition in conditions))),
    ]


def model_facts(about: Mapping[str, Any], config: RunConfig) -> Facts:
    """Returns what the run has recorded of its latency model, and how it was used."""
    latency = config.latency
    return [
        ("source", f"{latency.source}; the final front is measured"),
        ("accepted is", f"what keeps a constraint with a probability of {latency.confidence:g}"),
        *((spaced(name), in_text(value)) for name, value in about.items()),
    ]


def in_text(value: object) -> str:
    """
    >>> in_text({"kernels": 120, "held_out": {"mape": 0.04321}}), in_text(True), in_text(None)
    ('kernels 120, held out mape 0.0432', 'yes', 'none')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{spaced(name)} {in_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(in_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "none" if value is None else str(value)


def spaced(name: str) -> str:
    return name.replace("_", " ")


def together(values: Any) -> str:  # noqa: ANN401  (any iterable of text)
    """Returns distinct values in the order met.

    >>> together(["a", "b", "a"])
    'a, b'
    """
    return ", ".join(dict.fromkeys(values))


def span(dates: Sequence[str]) -> str:
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def training_facts(config: TrainingConfig) -> Facts:
    """Returns the recipe, setting by setting."""
    rows = asdict(config)
    augmentation = rows.pop("augmentation")
    changes = ", ".join(f"{name} {value}" for name, value in augmentation.items())
    return [
        (
            "accuracy is",
            "the share of validation images whose largest output is their class, after the last "
            "epoch; all networks are trained from scratch by this one recipe",
        ),
        ("balanced accuracy is", "the mean over the classes of the share that is recognised"),
        ("macro F1 is", "the mean over the classes of the harmonic mean of recall and precision"),
        (
            "intervals are",
            "of 95 %: Wilson's for an accuracy, by its number of images; for balanced accuracy "
            "from those of the classes (Zou and Donner)",
        ),
        *((name.replace("_", " "), "none" if v is None else str(v)) for name, v in rows.items()),
        ("augmentation", "none" if config.augmentation == Augmentation() else changes),
    ]


def data_facts(data: Mapping[str, Any], config: RunConfig) -> Facts:
    """Returns what the run has recorded of its images."""
    settings = ", ".join(f"{key} = {value}" for key, value in config.data.settings.items())
    source = f"{config.data.kind}{f' ({settings})' if settings else ''}"
    if not data:
        return [("source", source), ("splits", NOT_RECORDED)]
    sizes = ", ".join(f"{data['sizes'][name]} {name}" for name in SPLITS)
    return [
        ("source", source),
        ("images", f"{sizes}; seed {config.data.seed}, every class in its proportion"),
        ("shape (C, H, W)", " x ".join(str(size) for size in data["image_shape"])),
        ("classes", f"{len(data['class_names'])}: {', '.join(data['class_names'])}"),
        (
            "used for",
            "training; validation images guide the search; test images are scored once, for the "
            "networks of the final front",
        ),
        *((f"fingerprint, {name}", f"{data['fingerprints'][name]}") for name in SPLITS),
    ]


def search_facts(results: RunResults) -> Facts:
    """Returns how the space was explored and where the time went."""
    search, space = results.config.search, results.config.space
    rows = [
        ("sampler", f"{search.sampler}, {search.initial} random architectures first"),
        ("seed", str(search.seed)),
        ("workers", str(search.workers)),
        ("ends", ending_rule(results.config)),
        ("early stopping", stopping_rule(results.config)),
        *inheritance_rule(results.config),
        ("constraints", together(str(rule) for rule in results.config.constraints) or "none"),
        ("repeated proposals", f"{results.num_duplicates}, answered from memory"),
        ("interrupted trials", str(results.num_failed)),
        ("input resolutions", together(str(size) for size in space.resolutions)),
    ]
    for phase, name in (
        ("training", "time spent training"),
        ("latency", "time spent on latency"),
    ):
        seconds = sum(t.evaluation.seconds.get(phase, 0.0) for t in results.trials)
        rows.append((name, duration(seconds)))
    return rows


def ending_rule(config: RunConfig) -> str:
    """Returns in words when the search ends by itself."""
    search = config.search
    trials = f"after {search.trials} architectures"
    if search.stop is None:
        return trials
    return f"{trials}, or {search.stop.no_gain_in} in a row without a larger hypervolume"


def stopping_rule(config: RunConfig) -> str:
    """Returns in words which trainings are stopped."""
    rule = config.search.early_stopping
    if rule is None:
        return "none"
    rungs = together(str(epoch) for epoch in rungs_of(config))
    return (
        f"after epoch {rungs} goes on what is among the best 1 / {rule.reduction} there by Pareto "
        "rank, and what nothing dominates"
    )


def inheritance_rule(config: RunConfig) -> Facts:
    """Returns in words what inherits weights; nothing where all is trained from nothing."""
    rule, epochs = config.search.inherit, config.training.epochs
    if rule is None:
        return []
    said = (
        f"after {rule.after} networks, for {rule.epochs_of(epochs)} of {epochs} epochs, where a "
        f"parent has {percent(rule.least_share)} of the weights; {percent(rule.afresh)} from "
        "nothing all the same"
    )
    return [("inherited weights", said)]


def machine_facts(record: Mapping[str, Any]) -> Facts:
    """Returns machine, versions and command as the run recorded them when it was made."""
    machine = record.get("machine", {})
    return [
        ("started", record.get("started", NOT_RECORDED)),
        ("command", record.get("command", NOT_RECORDED)),
        *((name, str(value)) for name, value in machine.items()),
        *((name, str(value)) for name, value in record.get("versions", {}).items()),
    ]


def cost_facts() -> Facts:
    """Returns how the numbers are counted that come from the graph alone."""
    return [
        ("multiply-accumulates", "one per use of a weight, in convolutions and linear layers"),
        ("parameters", "learned numbers; running statistics of norms are not learned"),
        ("memory access", "bytes that each fused kernel reads and writes, every operand once"),
        ("weight size", "stored weights at their precision, norms folded, biases in 4 bytes"),
        ("peak activation memory", "the most bytes of maps that are alive at once"),
        ("k, M, G", "powers of 1000"),
    ]
