"""Data place: the data of a run that a command works on, where it is now."""

from dataclasses import replace

from nas.problem.data_paths import check_there, moved
from nas.study.results import RunResults


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
