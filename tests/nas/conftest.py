"""Fixtures for tests that search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.sources.digits import Digits
from nas.data.sources.registry import load
from tests.nas.parts.disks import file_system


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The digits as a file: a process that reads it need not import scikit-learn for seconds."""
    digits = load(Digits()).data
    path: Path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, images=digits.images, labels=digits.labels)
    return {"kind": "npz", "path": str(path)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    with file_system(tmp_path / "disk", "160k") as place:
        yield place
