"""Ray's privates: every attribute of Ray that is not documented stands in this file.

Tokens: how Ray is told to prove that it may connect; never shown, logged or written. Ray reads
these variables once and keeps what it read, so it is told when they change.

Quiet: Ray prints what a dying raylet or worker leaves behind, hundreds of lines of it, to the
terminal of every driver, and no option of its own keeps it from that. It goes to the search's log.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latency_models.devices.device import is_loopback, parse_address
from search_spaces.graphs.errors import UserError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def users_access(address: str) -> dict[str, str]:
    """Returns Ray's variables for a cluster of the user's own, by where Ray looks for a token.

    Raises:
        UserError: If there is no token and others can reach the cluster, or a token's file cannot
            be read.
    """
    if os.environ.get(TOKEN):
        return {MODE: "token", TOKEN: os.environ[TOKEN]}
    given = os.environ.get(TOKEN_PATH)
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    try:
        if path.read_text().strip():
            return {MODE: "token", TOKEN_PATH: str(path)}
    except (OSError, UnicodeDecodeError) as error:
        if given:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UserError(
                f"cannot read the cluster's token in {path} ({TOKEN_PATH}): {reason}"
            ) from None
    if given:
        raise UserError(f"the cluster's token in {path} ({TOKEN_PATH}) is empty")
    if not is_loopback(parse_address(address)[0]):
        raise UserError(
            f"the cluster at {address} can be reached by other machines, and there is no token "
            f"for it; start its nodes with {MODE}=token, and set {TOKEN_PATH} to the token's file "
            "here (see docs/cluster.md)"
        )
    return {MODE: "disabled"}


@contextmanager
def access(variables: Mapping[str, str]) -> Iterator[None]:
    """Lets Ray in this process connect as ``variables`` say; sets them back afterwards."""
    names = (MODE, TOKEN, TOKEN_PATH)
    before = {name: os.environ.get(name) for name in names}
    put({name: variables.get(name) for name in names})
    try:
        forget_read()
        yield
    finally:
        put(before)
        forget_read()


def put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def forget_read() -> None:
    """Lets Ray read its variables again."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


log = logging.getLogger("nas.search")


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps Ray from the terminal until the block ends."""
    from ray._private import worker

    loud = worker.print_worker_logs
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    levels = [each.level for each in loggers]
    worker.print_worker_logs = note
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        worker.print_worker_logs = loud
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def note(data: Mapping[str, Any], *_: object, **__: object) -> None:
    """Logs the first line of what Ray would print."""
    lines = [line for text in data.get("lines", ()) for line in str(text).splitlines() if line]
    if lines:
        log.info("Ray's %s: %s", data.get("pid", "log"), lines[0][:300])
