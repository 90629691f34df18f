"""Guards: what every request passes before it is read: counted, known by its token, in time.

What was counted is told in Prometheus' text format.
"""

import asyncio
import hmac
import json
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nas.serving.sockets import FOREIGN_HOST, is_own_host

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counters:
    """Counters of one app."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hwnas_requests",
            "Requests answered, by path and status.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "hwnas_request_seconds",
            "Seconds from a request's headers to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._predictions = Counter(
            "hwnas_predictions",
            "Architectures whose latency was predicted, by device.",
            ("device",),
            registry=self._registry,
        )
        self._refusals = Counter(
            "hwnas_refusals",
            "Architectures of batches that have no prediction, by device.",
            ("device",),
            registry=self._registry,
        )

    def count_request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_predictions(self, device: str, predicted: int, refused: int = 0) -> None:
        """Counts architectures; ``device`` must be a profiled one, or labels grow without end."""
        self._predictions.labels(device).inc(predicted)
        if refused:
            self._refusals.labels(device).inc(refused)

    def text(self) -> bytes:
        return generate_latest(self._registry)


OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json"})  # they tell nothing of a device


def json_response(data: Any, status: int = 200, **headers: str) -> Response:  # noqa: ANN401  (JSON)
    """Returns JSON in ASCII, which any text that a client sent fits into."""
    return Response(json.dumps(data), status, headers, "application/json")


def error_response(message: str, status: int, **headers: str) -> Response:
    return json_response({"error": message}, status, **headers)


class Counted:
    """Counts requests by path, status and time."""

    def __init__(self, app: ASGIApp, counters: Counters, paths: frozenset[str]) -> None:
        self.app, self.counters, self.paths = app, counters, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = perf_counter(), 500  # where the app raises

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # Paths that nobody serves would be labels without end.
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.counters.count_request(path, status, perf_counter() - start)


class Token:
    """Answers 401 where a request does not bring the token, before its body is read."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given, self.token):
                message = "this service needs its token: send 'Authorization: Bearer TOKEN'"
                answer = error_response(message, 401, **{"WWW-Authenticate": "Bearer"})
                return await answer(scope, receive, send)
        return await self.app(scope, receive, send)


class OwnHost:
    """Answers 400 where a request does not call this machine by its own name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not is_own_host(host):
                return await error_response(FOREIGN_HOST, 400)(scope, receive, send)
        return await self.app(scope, receive, send)


class RequestTimeLimit:
    """Answers 503 where a request takes too long, be it to send or to compute."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds):
                await self.app(scope, receive, watched)
        except TimeoutError:
            if has_begun:
                raise
            await out_of_time(self.seconds)(scope, receive, send)


def out_of_time(seconds: float) -> Response:
    return error_response(
        f"the request took longer than {seconds:g} s; send fewer architectures at once, or try "
        "again when the service is less busy",
        503,
        **{"Retry-After": "1"},
    )


def explain_mistake(_: Request, error: Exception) -> Response:
    return error_response(str(error), 422)


def explain_refusal(request: Request, error: Exception) -> Response:
    """Says what is wrong with a path, a method or a content type."""
    assert isinstance(error, HTTPException)
    text = {
        404: f"there is no {request.url.path}; see /docs",
        405: f"{request.url.path} has no method {request.method}; see /docs",
    }
    message = text.get(error.status_code, str(error.detail))
    return error_response(message, error.status_code, **dict(error.headers or {}))


def explain_fault(_: Request, error: Exception) -> Response:
    message = f"internal error: {type(error).__name__}; the log of the service has the details"
    return error_response(message, 500)
