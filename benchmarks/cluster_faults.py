"""What is killed under a search, and what that costs: finished trials lost, or counted twice.

    python -m benchmarks.cluster_faults --json docs/results/cluster_faults.json

Runs the tests that do each of it for real, which record what was told before the fault and is
missing after the end (lost), and networks with more than one evaluation (doubled). A test that
fails is a row as well.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from benchmarks.report import print_table, write_json

TESTS = (
    "tests/nas/evaluation/ray/test_cluster_search.py",
    "tests/nas/evaluation/ray/test_cluster_faults.py",
    "tests/nas/evaluation/ray/test_cluster_deaths.py",
    "tests/nas/evaluation/ray/test_command_line.py",
    "tests/nas/search/test_joined_search.py",
)


def rows_of(report: Path) -> Iterator[dict[str, Any]]:
    """Yields a row for each test that recorded an outcome, or failed."""
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        found = {each.get("name"): each.get("value") for each in case.iter("property")}
        failed = case.find("failure") is not None or case.find("error") is not None
        if not failed and "outcome" not in found:
            continue
        name = str(case.get("name")).removeprefix("test_").replace("_", " ")
        yield {
            "fault": name,
            "outcome": "FAILED" if failed else found["outcome"],
            "lost": int(found.get("lost") or 0),
            "doubled": int(found.get("doubled") or 0),
            "seconds": float(case.get("time") or 0.0),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *TESTS]
        wanted = (f"--junit-xml={report}", "-o", "junit_family=xunit1")
        done = subprocess.run([*command, *wanted], check=False)
        rows = list(rows_of(report))
    print_table("faults under a search", rows)
    totals = {key: sum(row[key] for row in rows) for key in ("lost", "doubled")}
    failed = sum(row["outcome"] == "FAILED" for row in rows)
    write_json(options.json, rows, {**totals, "failed": failed, "target": "lost 0, doubled 0"})
    sys.exit(bool(done.returncode or not rows or any(totals.values())))


if __name__ == "__main__":
    main()
