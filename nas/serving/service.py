"""Service: latency models behind HTTP, as a FastAPI app.

Bodies are read and predictions computed in a few threads, so that health and metrics answer
beside a large batch. A mistake in a request is 422 with the line that the command line prints.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from threading import RLock
from time import monotonic
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from latency_models.devices.latency import Latency, to_json
from latency_models.prediction.predictor import Predictor
from latency_models.transfer.predictions import prediction_json, read_architecture
from nas.serving.computation import Computation, OutOfTimeError
from nas.serving.docs_page import docs_page
from nas.serving.guards import (
    Counted,
    Counters,
    OwnHost,
    RequestTimeLimit,
    Token,
    error_response,
    explain_fault,
    explain_mistake,
    explain_refusal,
    json_response,
    out_of_time,
)
from nas.serving.limits import DEFAULT_LIMITS, Limits
from nas.serving.models import Models
from nas.serving.schemas import (
    BatchAnswer,
    BatchQuery,
    DevicesAnswer,
    ErrorAnswer,
    HealthAnswer,
    PredictAnswer,
    PredictQuery,
    read_body,
)
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import Graph

R = TypeVar("R")
CHUNK = 64  # architectures between two looks at the clock
DESCRIPTION = (
    "Predicted latency of networks on profiled devices. Where the service has a token, send it "
    "as 'Authorization: Bearer TOKEN'."
)


class BodyTooLargeError(Exception):
    """A request sent more than it may."""


class TooBusyError(Exception):
    """All requests together sent more than is kept at one time."""


def make_app(models: Models, token: str | None = None, limits: Limits = DEFAULT_LIMITS) -> FastAPI:
    """Returns the app that answers with ``models``.

    Args:
        token: What every request but for health and docs must bring; None lets all in that call
            this machine by its own name.
    """
    service = Service(models, limits, Counters())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="hwnas latency",
        version=version("hwnas"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
    )
    add_routes(app, service)
    # The last one added is passed first.
    app.add_middleware(RequestTimeLimit, seconds=limits.seconds)
    if token is None:
        app.add_middleware(OwnHost)
    else:
        app.add_middleware(Token, token=token)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Counted, counters=service.counters, paths=paths)
    app.add_exception_handler(UserError, explain_mistake)
    app.add_exception_handler(HTTPException, explain_refusal)
    app.add_exception_handler(OutOfTimeError, lambda *_: out_of_time(limits.seconds))
    app.add_exception_handler(BodyTooLargeError, lambda *_: too_large(limits))
    app.add_exception_handler(TooBusyError, lambda *_: too_busy())
    app.add_exception_handler(Exception, explain_fault)
    return app


class Service:
    """What the routes share: models, limits, counters and threads."""

    def __init__(self, models: Models, limits: Limits, counters: Counters) -> None:
        self.models, self.limits, self.counters = models, limits, counters
        self._threads = ThreadPoolExecutor(limits.threads, "predict")
        self._turns: defaultdict[str, RLock] = defaultdict(RLock)
        self._waiting_bytes = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def compute(self, work: Callable[[], R], deadline: float) -> R:
        """Returns what ``work`` gives in one of the threads; it waits for its turn there.

        Raises:
            OutOfTimeError: If it is not done by then; it is ended.
        """
        computation = Computation(work, self._give_back_turns)
        loop = asyncio.get_running_loop()
        ending = loop.call_later(max(0.0, deadline - monotonic()), computation.stop)
        try:
            return await loop.run_in_executor(self._threads, computation)
        finally:
            ending.cancel()
            computation.stop()  # nobody waits for it where the client is gone

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Receives a request's body, which counts among all bodies until it is answered.

        Raises:
            HTTPException: If it is not sent as JSON.
            BodyTooLargeError: If it is larger than a body may be.
            TooBusyError: If there is no room for it beside the others.
        """
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, f"the body must be sent as application/json, got {kind!r}")
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                self._waiting_bytes += len(part)
                if size > self.limits.body_bytes:
                    raise BodyTooLargeError
                if self._waiting_bytes > self.limits.waiting_bytes:
                    raise TooBusyError
                parts.append(part)
            yield b"".join(parts)
        finally:
            self._waiting_bytes -= size

    @contextmanager
    def turn(self, device: str, deadline: float) -> Iterator[None]:
        """Holds a device's model, which remembers kernels, for one thread.

        Raises:
            OutOfTimeError: If others hold it for too long.
        """
        lock = self._turns[device]
        if not lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise OutOfTimeError
        try:
            yield
        finally:
            lock.release()

    def _give_back_turns(self) -> None:
        """Releases what this thread still holds: it may have been ended between getting a turn
        and the ``try`` that releases it."""
        for lock in list(self._turns.values()):
            with suppress(RuntimeError):  # it is not this thread's
                lock.release()

    def health(self) -> dict[str, Any]:
        count = len(self.models.names())
        return {"status": "ok", "version": version("hwnas"), "devices": count}

    def devices(self) -> dict[str, Any]:
        return {"devices": [self._device(name) for name in self.models.names()]}

    def _device(self, name: str) -> dict[str, Any]:
        try:
            return {"name": name, "about": dict(self.models.get(name).about)}
        except (UserError, OSError) as error:  # one damaged profile hides no other
            return {"name": name, "error": str(error)}

    def predict(self, body: bytes, deadline: float) -> dict[str, Any]:
        check_time(deadline)
        query = read_body(PredictQuery, body, self.limits)
        model = self.models.get(query.device)
        graph = read_architecture(query.architecture)
        check_time(deadline)
        ask = model.explain if query.explain else model.latency
        with self.turn(query.device, deadline):
            answer = ask(graph, extrapolate=query.extrapolate)
        self.counters.count_predictions(query.device, 1)
        return prediction_json(query.device, answer)

    def predict_batch(self, body: bytes, deadline: float) -> dict[str, Any]:
        check_time(deadline)
        query = read_body(BatchQuery, body, self.limits)
        model = self.models.get(query.device)
        answers: list[Latency | UserError] = []
        for start in range(0, len(query.architectures), CHUNK):
            check_time(deadline)
            rows = [readable(item) for item in query.architectures[start : start + CHUNK]]
            with self.turn(query.device, deadline):
                answers += predict_each(model, rows, query.extrapolate)
        refused = sum(isinstance(answer, UserError) for answer in answers)
        self.counters.count_predictions(query.device, len(answers) - refused, refused)
        return {"device": query.device, "answers": [answer_json(answer) for answer in answers]}


def readable(architecture: dict[str, Any]) -> Graph | UserError:
    try:
        return read_architecture(architecture)
    except UserError as error:
        return error


def predict_each(
    model: Predictor, rows: Sequence[Graph | UserError], extrapolate: bool
) -> list[Latency | UserError]:
    """Returns the latency of each graph, or why it has none; what was no graph stays so."""
    graphs = [row for row in rows if isinstance(row, Graph)]
    try:
        found = iter(model.latencies(graphs, extrapolate=extrapolate))
        return [next(found) if isinstance(row, Graph) else row for row in rows]
    except UserError:  # one of them: ask for each alone
        return [predict_one(model, row, extrapolate) for row in rows]


def predict_one(
    model: Predictor, row: Graph | UserError, extrapolate: bool
) -> Latency | UserError:
    try:
        return row if isinstance(row, UserError) else model.latency(row, extrapolate=extrapolate)
    except UserError as error:
        return error


def answer_json(answer: Latency | UserError) -> dict[str, Any]:
    if isinstance(answer, UserError):
        return {"error": str(answer)}
    return {"latency": to_json(answer)}


def check_time(deadline: float) -> None:
    if monotonic() > deadline:
        raise OutOfTimeError


def add_routes(app: FastAPI, service: Service) -> None:
    """Adds every path to the app."""
    limits = service.limits

    @app.get("/health", responses={200: {"model": HealthAnswer}})
    async def health() -> Response:
        """Tells that the service answers, and how many devices it knows."""
        return json_response(service.health())

    @app.get("/devices", responses=responses(DevicesAnswer))
    async def devices() -> Response:
        """Lists the profiled devices with what is known of them."""
        deadline = monotonic() + limits.seconds
        return json_response(await service.compute(service.devices, deadline))

    @app.post("/predict", responses=responses(PredictAnswer), openapi_extra=taking(PredictQuery))
    async def predict(request: Request) -> Response:
        """Predicts the latency of one architecture on a profiled device."""
        return await answer(request, service.predict)

    @app.post("/predict/batch", responses=responses(BatchAnswer), openapi_extra=taking(BatchQuery))
    async def predict_batch(request: Request) -> Response:
        """Predicts the latency of several architectures; what one of them lacks is told in its
        place, and the others are still answered."""
        return await answer(request, service.predict_batch)

    async def answer(request: Request, ask: Callable[[bytes, float], dict[str, Any]]) -> Response:
        deadline = monotonic() + limits.seconds
        async with service.body(request) as body:
            found = await service.compute(lambda: ask(body, deadline), deadline)
        return json_response(found)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Tells requests, predictions and seconds, in Prometheus' text format."""
        return Response(service.counters.text(), media_type=service.counters.content_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))


def responses(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    said = {
        401: "The token is missing or wrong.",
        413: "The body is too large.",
        415: "The body is not sent as application/json.",
        422: "A mistake in the request, as the command line says it.",
        503: "It took too long.",
    }
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": text} for status, text in said.items()
    }
    return {200: {"model": answer}} | errors


def taking(body: type[BaseModel]) -> dict[str, Any]:
    """Returns what OpenAPI shall say of a body that the service reads itself."""
    content = {"application/json": {"schema": body.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def too_large(limits: Limits) -> Response:
    return error_response(
        f"a body has at most {limits.body_bytes} bytes; send fewer architectures at once", 413
    )


def too_busy() -> Response:
    message = "the service holds as many requests as it can; try again when it is less busy"
    return error_response(message, 503, **{"Retry-After": "1"})
