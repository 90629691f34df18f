"""Serving a board: TVM's RPC server and tracker, each in the foreground until it is stopped.

TVM's server ends when code that was uploaded crashes; here the next session begins instead. Its
loop has no public name, so this module goes with the version of TVM that hwnas asks for.
"""

import getpass
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from importlib.util import find_spec
from types import FrameType

from latency_models.devices.device import is_loopback, parse_address
from search_spaces.graphs.errors import UserError

Say = Callable[[str], None]


def serve_board(
    host: str, port: int, say: Say, *, tracker: str = "", key: str = "", trusting: bool = False
) -> None:
    """Runs networks for whoever connects, one at a time, until the process is stopped.

    Args:
        port: 0 takes a free one.
        say: Told what is served, and of sessions that end badly.
        tracker: Host and port of a tracker that is to know this board.
        key: What the tracker calls boards of this kind.
        trusting: Whether machines beside this one may connect.

    Raises:
        UserError: If others could connect and are not trusted, or the port is taken, or the
            tracker cannot be reached.
    """
    if bool(tracker) != bool(key):
        raise UserError("--tracker and --key go together; give both or neither")
    known_to = reached(tracker) if tracker else None
    risk = f"run any code on this one as {getpass.getuser()}"
    with listen(host, port, risk, trusting) as listening:
        from tvm.rpc import server

        port = listening.getsockname()[1]
        say(
            f"serving this board at {host}:{port}"
            + (f" as key {key} of tracker {tracker}" if tracker else "")
        )
        say(
            f"whoever reaches this port can run any code as {getpass.getuser()}"
            + (", from this machine only" if is_loopback(host) else "")
            + "; Ctrl-C ends it"
        )
        home = os.getcwd()
        signal.signal(signal.SIGTERM, stop)
        # The server ends a session that takes too long by this signal, in the midst of its code.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        try:
            while True:
                try:
                    server._listen_loop(listening, port, key, known_to, None, None)
                except Exception as error:  # code may crash, and whoever connects send anything
                    say(
                        f"a session ended badly ({type(error).__name__}: {error}); waiting for "
                        "the next"
                    )
                os.chdir(home)  # a session has a folder of its own
        finally:
            for session in multiprocessing.active_children():
                session.kill()


def serve_tracker(host: str, port: int, say: Say, *, trusting: bool = False) -> None:
    """Tells who asks for a key which board of it is free, until the process is stopped.

    Raises:
        UserError: If others could connect and are not trusted, the port is taken, or tornado is
            not installed.
    """
    if find_spec("tornado") is None:
        raise UserError(
            "TVM's tracker needs tornado, which is not installed; pip install '.[rpc]'"
        )
    with listen(host, port, "use the boards that it knows", trusting) as listening:
        from tvm.rpc import base, tracker

        say(f"tracking boards at {host}:{listening.getsockname()[1]}")
        say("whoever reaches this port can use the boards that it knows; Ctrl-C ends it")
        signal.signal(signal.SIGTERM, stop)
        tracker._tracker_server(listening, base.random_key("tracker"))


def listen(host: str, port: int, risk: str, trusting: bool) -> socket.socket:
    if not trusting and not is_loopback(host):
        raise UserError(
            f"at {host} other machines could {risk}; listen at 127.0.0.1 and forward the port "
            "with ssh, or say --trust-network"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=16)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from None


def reached(address: str) -> tuple[str, int]:
    """Returns host and port of a tracker that answers."""
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise UserError(f"--tracker: {error}") from None
    try:
        with socket.create_connection((host, port), timeout=10):
            return host, port
    except OSError as error:
        raise UserError(
            f"cannot reach a tracker at {address}: {error}; start one with nas device tracker"
        ) from None


def stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
