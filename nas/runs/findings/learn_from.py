"""Learn from: the earlier runs that a search is told to learn from, checked before it begins.

A run that was begun has them in its own folder, and whoever joins a shared study has them from the
study, so the folders are looked at once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import optuna

from nas.problem.metrics import Metric
from nas.problem.records import RunConfig
from nas.runs.findings.earlier_run import EarlierRun, earlier_run, from_json, kept, learnable
from nas.runs.folder import RunFolder
from nas.study.names import EARLIER
from nas.study.results import RunResults, load_results
from nas.study.storages import open_storage, reading_study
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import SearchSpace, record

PROBES = 50  # trials by which it is seen whether spaces have genes in common
KEY = "search.learn_from"

Say = Callable[[str], None]


def earlier_runs(
    config: RunConfig, run: RunFolder, say: Say, *, join: bool = False
) -> tuple[EarlierRun, ...]:
    """Returns what a search is to learn from.

    Args:
        run: The folder of the search, which may not be there yet.
        say: Told what each of them brings, and what it lacks, a line each; nothing where the run
            has them already.
        join: Whether others search in the study already, who have brought them.

    Raises:
        UserError: If one of them is no run, damaged, out of reach, the run itself, or has nothing
            that could be learned.
    """
    if not config.search.learn_from:
        return ()
    if run.earlier_runs_file.exists():
        return kept(run)
    if join and (told := of_study(config, run)) is not None:
        return told
    wanted = learnable(config.objectives)
    if not wanted:
        names = ", ".join(metric.name for metric in config.objectives)
        raise UserError(
            f"{KEY} is of no use: a network's graph alone tells all objectives ({names}); leave "
            "it out"
        )
    paths = [Path(path).expanduser() for path in config.search.learn_from]
    refuse_repeated(paths)
    return tuple(read_one(path, config, run, wanted, say) for path in paths)


def refuse_repeated(paths: Sequence[Path]) -> None:
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{KEY} must name different runs, got {path} twice; leave one out")


def read_one(
    path: Path, config: RunConfig, run: RunFolder, wanted: Sequence[Metric], say: Say
) -> EarlierRun:
    if path.resolve() == run.path.resolve():
        raise UserError(f"{KEY}: {path} is this run itself; leave it out")
    try:
        results = load_results(path)
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from None
    except OSError as error:
        raise UserError(f"{KEY}: cannot read {path}: {error.strerror}; check its rights") from None
    refuse_same_study(path, results, config)
    found = earlier_run(str(path), results.trials, config.objectives)
    if found is None:
        raise UserError(
            f"{KEY}: {path} has no finished trial of its space; go on with its search, or leave "
            "it out"
        )
    known = [metric for metric in wanted if metric.name in found.values]
    if not known:
        names = ", ".join(metric.name for metric in wanted)
        raise UserError(f"{KEY}: {path} tells nothing of {names}; leave it out")
    common = in_common(found, config.space)
    if not common:
        raise UserError(
            f"{KEY}: {path} is of another space: no gene with a value that this one may take is "
            "in common; leave it out"
        )
    lacking = [metric.name for metric in wanted if metric not in known]
    said = f"learning from {path}: {len(found.codes)} trials, {common} genes in common"
    say(said + (f"; it tells nothing of {', '.join(lacking)}" if lacking else ""))
    return found


def refuse_same_study(path: Path, results: RunResults, config: RunConfig) -> None:
    theirs, ours = results.config, config
    shared = ours.search.storage is not None and ours.search.storage == theirs.search.storage
    if shared and ours.name == theirs.name:
        raise UserError(
            f"{KEY}: {path} is this run itself, by its study {ours.name!r}; leave it out"
        )


def in_common(earlier: EarlierRun, space: SearchSpace) -> int:
    """Returns how many genes that the space leaves open have a value that the run has tried.

    The space is asked as the run's trials decided, so that it is seen where they led.
    """
    rng, found = Random(0), set[str]()
    for trial in range(min(PROBES, len(earlier.codes))):
        genes = earlier.genes(trial)
        try:
            asked = record(
                space,
                lambda choice: (
                    genes[choice.name]  # noqa: B023
                    if genes.get(choice.name) in choice.values  # noqa: B023
                    else rng.choice(choice.values)
                ),
            )
        except ValueError:  # it makes no network
            continue
        found |= {
            choice.name
            for choice in asked.choices
            if len(choice.values) > 1
            and {*choice.values} & {*earlier.choices.get(choice.name, ())}
        }
    return len(found)


def of_study(config: RunConfig, run: RunFolder) -> tuple[EarlierRun, ...] | None:
    """Returns what the drivers of a shared study learn from; None where it does not say."""
    if config.search.storage is None:
        return None
    with reading_study(config.search.storage, run.journal):
        storage = open_storage(config.search.storage, run.journal, make=False)
        if config.name not in optuna.get_all_study_names(storage):
            return None
        study = optuna.load_study(study_name=config.name, storage=storage)
    return told_by(study.user_attrs)


def told_by(attributes: Mapping[str, Any]) -> tuple[EarlierRun, ...] | None:
    """Returns what a study says its drivers learn from; None where it does not say.

    Raises:
        UserError: If that is damaged.
    """
    if EARLIER not in attributes:
        return None
    try:
        return from_json(attributes[EARLIER])
    except (UserError, AttributeError) as error:
        raise UserError(
            f"the study is damaged: its {EARLIER} ({error}); search anew with --set name=NAME"
        ) from None
