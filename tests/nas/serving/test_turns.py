"""Turns at a device's model: whatever ends a computation, the next one gets its turn."""

import asyncio
from collections.abc import Callable
from threading import RLock
from time import monotonic, sleep

import pytest

from nas.serving.computation import OutOfTimeError
from nas.serving.guards import Counters
from nas.serving.limits import Limits
from nas.serving.service import Service
from tests.nas.parts.served import FixedModels
from tests.waiting import PATIENCE_S

THREADS = 2


class EndedOnceItIsHeld:
    """A lock whose first holder is ended right after it got it, before any next line."""

    def __init__(self) -> None:
        self._lock, self._is_first = RLock(), True
        self.release = self._lock.release

    def acquire(self, timeout: float) -> bool:
        held = self._lock.acquire(timeout=timeout)
        if self._is_first:
            self._is_first = False
            raise OutOfTimeError  # as it comes from outside, between two steps of Python
        return held


def test_a_turn_is_given_back_by_one_that_was_ended_before_it_could(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nas.serving.service.RLock", EndedOnceItIsHeld)
    service = Service(FixedModels({}), Limits(threads=THREADS), Counters())

    def take() -> None:
        with service.turn("one", monotonic() + PATIENCE_S):
            raise AssertionError("it was to be ended before")

    with pytest.raises(OutOfTimeError):
        computed(service, take)

    assert takes_its_turn_in_every_thread(service)


def test_a_turn_that_was_waited_for_in_vain_is_not_taken_from_its_holder() -> None:
    service = Service(FixedModels({}), Limits(threads=THREADS), Counters())

    async def holder_and_one_in_vain() -> str:
        end = monotonic() + 0.5

        def hold() -> str:
            with service.turn("one", monotonic() + PATIENCE_S):
                while monotonic() < end:
                    sleep(0.001)
                return "held"

        def wait() -> None:
            with service.turn("one", monotonic() + 0.1):
                pass

        holder = asyncio.ensure_future(service.compute(hold, monotonic() + PATIENCE_S))
        await asyncio.sleep(0.1)
        with pytest.raises(OutOfTimeError):
            await service.compute(wait, monotonic() + PATIENCE_S)
        return await holder

    assert asyncio.run(holder_and_one_in_vain()) == "held"
    assert takes_its_turn_in_every_thread(service)


def computed(service: Service, work: Callable[[], None]) -> None:
    async def run() -> None:
        return await service.compute(work, monotonic() + PATIENCE_S)

    asyncio.run(run())


def takes_its_turn_in_every_thread(service: Service) -> bool:
    def take() -> bool:
        with service.turn("one", monotonic() + 1.0):
            sleep(0.05)
            return True

    async def run() -> list[bool]:
        asked = (service.compute(take, monotonic() + PATIENCE_S) for _ in range(2 * THREADS))
        return await asyncio.gather(*asked)

    return all(asyncio.run(run()))
