"""Listening: sockets that only this machine reaches, unless who asks must give a token."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from latency_models.devices.device import is_loopback
from search_spaces.graphs.errors import UserError

TOKEN = "HWNAS_TOKEN"
LEAST_TOKEN = 16  # characters
BACKLOG = 512
# A page of another site can give its own name this machine's address, and read what is served
# here as its own; but not hide that name.
FOREIGN_HOST = (
    "without a token this is served under this machine's own name alone: open 127.0.0.1 or "
    "localhost, or serve with a token"
)


def read_token(given: str | None, file: Path | None) -> str | None:
    """Returns the token: given, from a file, or from the environment; None where there is none.

    Raises:
        UserError: If it is given twice, cannot be read or is too weak. It is never repeated.
    """
    if given is not None and file is not None:
        raise UserError("give the token once: with --token or with --token-file")
    if file is not None:
        try:
            given = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read token file {file}: {error}") from None
    token = os.environ.get(TOKEN) if given is None else given
    if token is None:
        return None
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"a token needs at least {LEAST_TOKEN} letters, digits or signs, got {len(token)} "
            'characters; make one with: python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return token


def open_socket(host: str, port: int, has_token: bool) -> socket.socket:
    """Returns a listening socket.

    Raises:
        UserError: If the address is unknown or in use, or others can reach it and there is no
            token.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UserError(f"unknown host {host!r}: {error}") from None
    family, kind, protocol, _, address = found[0]
    if not has_token and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UserError(
            f"host {host} can be reached from other machines and needs a token; set {TOKEN} or "
            "give --token-file, or serve this machine alone with --host 127.0.0.1"
        )
    # Named TCP, or asyncio would leave Nagle's algorithm on and each answer 40 ms late.
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from None
    return listening


def is_own_host(header: str) -> bool:
    """Whether a request's Host names this machine as only itself can.

    >>> [is_own_host(host) for host in ("127.0.0.1:8000", "localhost", "[::1]:80")]
    [True, True, True]
    >>> [is_own_host(host) for host in ("evil.example:8000", "127.0.0.1.evil.example", "")]
    [False, False, False]
    """
    host = header.strip()
    if host.endswith("]") or ":" not in host:
        return is_loopback(host.removeprefix("[").removesuffix("]"))
    name, _, port = host.rpartition(":")
    return port.isdecimal() and is_loopback(name.removeprefix("[").removesuffix("]"))


def url_of(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Calls ``stop`` on Ctrl-C and SIGTERM.

    uvicorn raises a signal again when it has stopped in order; here that is the end it asks for,
    not a failure.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    before = {
        number: signal.signal(number, lambda *_: stop())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
