"""Dashboard server: Optuna's dashboard behind guards, on a socket that is open already."""

import base64
import binascii
import hmac
import json
import re
import socket
import socketserver
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna_dashboard import wsgi
from optuna_dashboard._serializer import serialize_frozen_trial

from nas.serving.dashboard import ReadOnlyStorage
from nas.serving.sockets import FOREIGN_HOST, is_own_host, stopping

REQUEST_S = 30.0  # a client that says nothing for so long is let go
Answer: TypeAlias = Iterable[bytes]


def dashboard_app(storage: ReadOnlyStorage, token: str | None) -> WSGIApplication:
    """Returns Optuna's dashboard for people who may look, and only look.

    Args:
        token: What they must give as the password, with any user name; None asks for none, but
            to be called by this machine's own name.
    """
    app = reading_only(with_feasible_best(wsgi(storage), storage))
    return knowing_host(app) if token is None else knowing_token(app, token)


def with_feasible_best(app: WSGIApplication, storage: ReadOnlyStorage) -> WSGIApplication:
    """Has a study's best trials be the feasible ones that none dominates.

    The dashboard itself looks at the objectives alone.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Answer:
        found = re.fullmatch(r"/api/studies/(\d+)/?", environ["PATH_INFO"])
        if found is None:
            return app(environ, start)
        told: list[Any] = []

        def note(*given: Any) -> Callable[[bytes], object]:  # noqa: ANN401
            told.append(given)
            return lambda data: None

        body = b"".join(app(environ, note))
        status, headers = told[-1][:2]
        if status.startswith("200"):
            study_id = int(found[1])
            attributes = storage.get_study_system_attrs(study_id)
            best = storage.best_trials(study_id)
            shown = [serialize_frozen_trial(study_id, trial, attributes) for trial in best]
            body = json.dumps(json.loads(body) | {"best_trials": shown}).encode()
        kept = [pair for pair in headers if pair[0].lower() != "content-length"]
        start(status, [*kept, ("Content-Length", str(len(body)))])
        return [body]

    return answer


def reading_only(app: WSGIApplication) -> WSGIApplication:
    """Answers 405 to whatever would change something."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return refuse(
                start,
                "405 Method Not Allowed",
                "this dashboard shows the study and changes nothing in it",
                ("Allow", "GET, HEAD"),
            )
        return app(environ, start)

    return answer


def knowing_token(app: WSGIApplication, token: str) -> WSGIApplication:
    """Answers 401 where the token is not given: as the password, or as a bearer."""
    secret = token.encode()

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Answer:
        if not hmac.compare_digest(given_token(environ.get("HTTP_AUTHORIZATION", "")), secret):
            return refuse(
                start,
                "401 Unauthorized",
                "this dashboard needs its token: give it as the password, with any user name",
                ("WWW-Authenticate", 'Basic realm="hwnas", charset="UTF-8"'),
            )
        return app(environ, start)

    return answer


def knowing_host(app: WSGIApplication) -> WSGIApplication:
    """Answers 400 to a browser that was led here under another machine's name."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Answer:
        if not is_own_host(environ.get("HTTP_HOST", "")):
            return refuse(start, "400 Bad Request", FOREIGN_HOST)
        return app(environ, start)

    return answer


def given_token(header: str) -> bytes:
    """Returns what a client gave as the token; empty where it gave none.

    >>> given_token("Bearer abc"), given_token("Basic bWU6YWJj"), given_token("Basic ?")
    (b'abc', b'abc', b'')
    """
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "bearer":
        return given.encode("latin-1")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def refuse(start: StartResponse, status: str, why: str, *headers: tuple[str, str]) -> Answer:
    body = f"{why}\n".encode()
    about = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(status, [*about, *headers])
    return [body]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers each client in a thread of its own."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, app: WSGIApplication) -> None:
        host, port = listening.getsockname()[:2]
        self.address_family = listening.family
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()[:2]
        self.server_name, self.server_port = host, port
        self.setup_environ()
        self.set_app(app)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no matter."""


class Handler(WSGIRequestHandler):
    """Logs nothing: headers hold the token."""

    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        return


def serve(app: WSGIApplication, listening: socket.socket, announce: Callable[[], None]) -> None:
    """Answers until Ctrl-C or SIGTERM.

    Args:
        announce: Says that it is there; a signal from then on ends it in order.
    """
    server = Server(listening, app)

    def stop() -> None:  # from the loop's own thread, which `shutdown` would wait for
        Thread(target=server.shutdown, daemon=True).start()

    with server, stopping(stop):
        announce()
        server.serve_forever(poll_interval=0.2)
