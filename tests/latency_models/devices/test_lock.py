"""Measurements have the machine for themselves; training makes way and goes on."""

import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from latency_models.devices.lock import device_lock, making_way
from tests.waiting import PATIENCE_S, wait_until

HOLDER = """
from time import sleep
from latency_models.devices.lock import device_lock
with device_lock():
    print("held", flush=True)
    sleep(600)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))


def test_training_steps_stand_still_while_something_is_measured() -> None:
    steps: list[float] = []
    done = threading.Event()

    def work() -> None:
        with making_way() as make_way:
            while not done.is_set():
                make_way()
                steps.append(monotonic())
                sleep(0.002)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    wait_until(lambda: bool(steps))
    with device_lock():
        held = monotonic()
        sleep(0.2)
        let_go = monotonic()
    wait_until(lambda: steps[-1] > let_go)
    done.set()
    for worker in workers:
        worker.join(timeout=PATIENCE_S)

    assert any(step < held for step in steps)
    assert not [step for step in steps if held < step < let_go]
    assert any(step > let_go for step in steps)


def test_two_measurements_wait_for_each_other() -> None:
    order: list[str] = []

    def measure(name: str) -> None:
        with device_lock():
            order.append(f"{name} begins")
            sleep(0.05)
            order.append(f"{name} ends")

    threads = [threading.Thread(target=measure, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)

    assert [line.split()[1] for line in order] == ["begins", "ends"] * 2


def test_the_lock_of_a_killed_process_is_free_again() -> None:
    entered = threading.Event()

    def enter() -> None:
        with device_lock():
            entered.set()

    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.2)

    holder.kill()
    holder.wait()
    holder.stdout.close()

    assert entered.wait(PATIENCE_S)
    waiting.join()
