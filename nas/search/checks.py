"""Checks: whether a run may begin, be joined, gone on with or changed, before it is touched."""

from collections.abc import Sequence
from pathlib import Path

from nas.problem import yaml_text
from nas.problem.addresses import address_only, without_passwords
from nas.problem.data_paths import with_absolute_paths
from nas.problem.records import RunConfig
from nas.problem.run_file import RunFile, differences, read_kept_file, read_run_file, to_yaml
from nas.runs.folder import RunFolder, has_run, open_run, refuse_other_run
from nas.runs.lock import RunLock, is_locked, lock_run
from nas.search.change import is_changeable
from nas.search.resume import may_change
from nas.study.storages import open_storage
from nas.study.study import refuse_other_study
from search_spaces.graphs.errors import UserError


def without_password(file: RunFile) -> RunFile:
    """Returns a run file whose study's address may be written to disk."""
    url = file.search.storage
    if url is None or address_only(url) == url:
        return file
    stored = file.search.model_copy(update={"storage": address_only(url)})
    return file.model_copy(update={"search": stored})


def read_search_file(path: Path, overrides: Sequence[str], runs: Path) -> RunFile:
    """Reads the run file of a search, as `read_run_file` does.

    Where the run is there and the file names no recipe, it is the run's own: a file that began a
    run before there were recipes goes on with it.
    """
    file = read_run_file(path, overrides)
    run = RunFolder(runs / file.name)
    if not has_run(run.path):
        return file
    return read_run_file(path, overrides, recipe=read_kept_file(run.config_file).training.recipe)


def check_run(file: RunFile, path: Path, resume: bool, join: bool, change: bool) -> Sequence[str]:
    """Checks that the run's folder is free, or may be gone on with; returns what is to change.

    Raises:
        UserError: If it holds a run and ``resume`` and ``join`` are off, or its configuration
            differs in more than ``change`` allows.
    """
    if not has_run(path):
        return ()
    if not (resume or join):
        if is_locked(RunFolder(path)):
            with lock_run(RunFolder(path)):  # says who searches in it
                pass
        refuse_other_run(path)
    run = open_run(path)
    # Read as a run file, so that keys younger than the run count at their defaults.
    own = with_absolute_paths(read_kept_file(run.config_file))
    before = to_yaml(without_password(own))
    changed = [
        without_passwords(line)
        for line in differences(yaml_text.load(before), yaml_text.load(to_yaml(file)))
        if not may_change(line.partition(":")[0])
    ]
    fixed = [line for line in changed if not is_changeable(line)]
    if fixed or (changed and not change):
        take = "" if fixed else "take the new ones with --change, "
        raise UserError(
            f"{path} was searched with another configuration ({'; '.join(fixed or changed)}); "
            f"{take}restore these values (the run's own are in {run.config_file}), or start anew "
            "with --set name=NAME"
        )
    return changed


def refuse_change_of_shared(config: RunConfig, run: RunFolder, lock: RunLock) -> None:
    """Raises:
    UserError: If others search in the run, or may.
    """
    if lock.is_alone and config.search.storage is None:
        return
    raise UserError(
        f"{run.path} is searched together with others, and --change is for a run that is "
        "one's own; begin another one with --set name=NAME, and give it what this one found with "
        f"--enqueue {run.path}"
    )


def check_study(config: RunConfig, run: RunFolder, is_new: bool) -> None:
    """Makes sure that the study can be had.

    Raises:
        UserError: If it is another run's, or its storage cannot be reached.
    """
    if is_new:
        refuse_other_study(config.name, config.search.storage, run.journal)
    elif config.search.storage is not None:
        open_storage(config.search.storage, run.journal)
