"""A dry run waits once for a busy machine: trying on is for a search."""

import pytest

from latency_models.devices.latency import DeviceBusyError
from nas.evaluation.latency import patient_latency
from nas.search.dry_run import OneWait
from nas.search.proposals.gate import Gate
from nas.search.proposals.left_over import every_architecture
from search_spaces.graphs.errors import UserError
from tests.nas.parts.latencies import Stopwatch
from tests.nas.parts.tiny import tiny


def test_a_busy_machine_ends_a_dry_run_after_one_wait() -> None:
    drawn = next(every_architecture(tiny().config().space, Gate()))
    assert drawn is not None
    stopwatch = Stopwatch(lambda graph: DeviceBusyError("somebody compiles"))

    with pytest.raises(UserError, match="somebody compiles"):
        patient_latency(OneWait(stopwatch), drawn.architecture.graph)

    assert len(stopwatch.measured) == 1
