"""Going on: the command line that takes a search up again, as a whole."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.problem.addresses import argument


def search_line(
    config: Path | str,
    options: Mapping[str, object],
    changes: Sequence[str] = (),
    *,
    is_begun: bool = True,
) -> str:
    """Returns the command that goes on with a search, quoted for a shell and without passwords.

    >>> search_line("my run.yaml", {"--trials": 9, "--ray": None, "--join": True}, ["a.b=[1, 2]"])
    "nas search 'my run.yaml' --trials 9 --join --set 'a.b=[1, 2]' --resume"

    >>> search_line("a.yaml", {"--enqueue": ["b.json", "c d.json"], "--data": ""}, is_begun=False)
    "nas search a.yaml --enqueue b.json 'c d.json'"

    Args:
        options: By their names: values, lists of them, True for a flag that is given; None, False
            and what is empty are left out.
        changes: What ``--set`` was given.
        is_begun: Whether there is a run to go on with.
    """
    words = ["nas", "search", str(config)]
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif isinstance(value, list):
            words += [name, *map(str, value)] if value else []
        elif value not in (None, False, ""):
            words += [name, str(value)]
    for change in changes:
        words += ["--set", change]
    if is_begun:
        words.append("--resume")
    return shlex.join(map(argument, words))
