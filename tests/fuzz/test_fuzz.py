"""A few hundred seeded mutations of every kind of file; ``make fuzz`` tries them for minutes."""

from pathlib import Path

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import verdict

# As many as take a second or two.
TRIES = {
    **{"run_files": 25, "spaces": 25, "addresses": 25, "requests": 100, "architectures": 100},
    **{"latency_models": 25, "profiles": 5, "run_folders": 12, "models": 100},
    **{"onnx_files": 100, "archives": 100},
}


@pytest.mark.parametrize("name", KINDS)
def test_no_mutation_ends_in_anything_but_a_result_or_one_line(name: str, tmp_path: Path) -> None:
    kind = KINDS[name](tmp_path)

    wrong = {seed: said for seed in range(TRIES.get(name, 300)) if (said := verdict(kind, seed))}

    assert wrong == {}
