"""The report of a compression says what the steps did, and asks the network for nothing."""

import re
from pathlib import Path
from typing import Any

import pytest

from nas.compression.report.page import write_compression_report
from nas.compression.running.folder import CompressionFolder
from tests.nas.parts.command_line import nas
from tests.nas.parts.compressions import compressed, network_folder, recipe_of


@pytest.fixture(scope="module")
def folder(digits_file: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compression")
    steps = [
        {"sparse_train": {"norm_l1": 1e-3}},
        {"prune": {"ratio": 0.5, "multiple": 1}},
        {"distill": {"epochs": 2}},
        {"quantize": {"images": 32}},
    ]
    compressed(network_folder(place / "small"), recipe_of(steps, digits_file), place / "run")
    return place / "run"


def test_the_page_says_what_every_step_did(folder: Path) -> None:
    page = write_compression_report(CompressionFolder(folder)).read_text()

    for said in ("1 sparse_train", "2 prune", "3 distill", "4 quantize", "95 % interval"):
        assert said in page
    assert "8 → " in page  # channels
    assert "fp32 → w8a8" in page
    assert "Not timed: not asked for" in page
    assert page.count('class="chart"') == 3


def test_the_page_needs_nothing_from_the_network(folder: Path) -> None:
    page = write_compression_report(CompressionFolder(folder)).read_text()

    without_script = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=.https?:", without_script)


def test_nas_report_writes_it_again(folder: Path) -> None:
    (folder / "report.html").unlink(missing_ok=True)

    assert "report.html" in nas("report", str(folder), at=folder)
    assert (folder / "report.html").exists()
