"""Bodies: what clients send, checked as a whole, and what they get, as OpenAPI says it."""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, Field, ValidationError

from nas.problem.validation import Strict, explain
from nas.serving.limits import Limits
from search_spaces.graphs.errors import UserError

B = TypeVar("B", bound=BaseModel)


class PredictQuery(Strict):
    """One architecture on one profiled device."""

    device: str = Field(description="Name of a profiled device; see GET /devices.")
    architecture: dict[str, Any] = Field(description="The content of an architecture file.")
    explain: bool = Field(False, description="Also tell each kernel's part.")
    extrapolate: bool = Field(
        False,
        description="Answer also where nothing like a kernel was measured, with an interval that "
        "says so.",
    )


class BatchQuery(Strict):
    """Several architectures on one profiled device."""

    device: str = Field(description="Name of a profiled device; see GET /devices.")
    architectures: list[dict[str, Any]] = Field(
        min_length=1, description="The contents of architecture files."
    )
    extrapolate: bool = Field(
        False, description="Answer also where nothing like a kernel was measured."
    )


class ErrorAnswer(BaseModel):
    error: str = Field(description="One line: the thing, the rule, the value, the remedy.")


class PredictAnswer(BaseModel):
    device: str
    latency: dict[str, Any] = Field(
        description="median_ms, spread_ms, source, interval (low_ms, high_ms, probability), model."
    )
    kernels: list[dict[str, Any]] | None = Field(
        None, description="With explain: node, kernel, median_ms, low_ms, high_ms, source, share."
    )
    overhead_ms: float | None = Field(None, description="With explain: beyond the kernels.")


class BatchAnswer(BaseModel):
    device: str
    answers: list[dict[str, Any]] = Field(
        description="In the order of the architectures: {latency} or {error}, each."
    )


class DevicesAnswer(BaseModel):
    devices: list[dict[str, Any]] = Field(description="{name, about} or {name, error}, each.")


class HealthAnswer(BaseModel):
    status: str
    version: str
    devices: int


def read_body(kind: type[B], body: bytes, limits: Limits) -> B:
    """Returns the query that a request's body holds.

    Raises:
        UserError: If it is not JSON, nests too deep, or is not such a query.
    """
    try:
        data = json.loads(body, parse_constant=refuse_constant)
    except RecursionError:
        raise too_deep(limits) from None
    except ValueError as error:
        raise UserError(f"the body is not JSON: {error}") from None
    check_depth(data, limits)
    if not isinstance(data, dict):
        raise UserError(f"the body must be a JSON object, got {type(data).__name__}")
    found = data.get("architectures")
    if isinstance(found, list) and len(found) > limits.batch:
        raise UserError(
            f"a batch holds at most {limits.batch} architectures, got {len(found)}; send several"
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError("; ".join(explain(error, kind))) from None


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def check_depth(data: object, limits: Limits) -> None:
    """Raises UserError if lists and objects nest deeper than the limit."""
    level = [data]
    for _ in range(limits.depth + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise too_deep(limits)


def too_deep(limits: Limits) -> UserError:
    return UserError(f"the body's lists and objects may nest {limits.depth} deep, no deeper")
