"""Limits: how much one request, and all of them together, may ask of the service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may take.

    Attributes:
        body_bytes: Size of a request's body; an architecture takes about 10 kB.
        batch: Architectures in one request.
        depth: Nesting of the JSON.
        seconds: Time for a request, from its headers to its answer; and for its headers.
        threads: Predictions computed at one time; more wait for their turn.
        connections: Open at one time; further ones are closed.
        waiting_bytes: Bodies of all requests that wait or are computed, together.
    """

    body_bytes: int = 16_000_000
    batch: int = 1000
    depth: int = 32
    seconds: float = 10.0
    threads: int = 2
    connections: int = 256
    waiting_bytes: int = 64_000_000


DEFAULT_LIMITS = Limits()
