"""Limits: how much one request may ask of the service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take.

    Attributes:
        body_bytes: Size of a request's body; an architecture takes about 10 kB.
        batch: Architectures in one request.
        depth: Nesting of the JSON.
        seconds: Time for a request, from its headers to its answer.
        threads: Predictions computed at one time; more wait for their turn.
    """

    body_bytes: int = 16_000_000
    batch: int = 1000
    depth: int = 32
    seconds: float = 10.0
    threads: int = 2


DEFAULT_LIMITS = Limits()
