"""The README's commands and code are run as they stand, in a folder of their own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"<!-- tested -->\n```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", place / "examples")
    return place


@pytest.mark.slow
def test_the_readme_runs(folder: Path) -> None:
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        words = command.split()
        assert words[0] == "nas"
        done = subprocess.run(
            [sys.executable, "-m", "nas", *words[1:]],
            cwd=folder,
            env=os.environ | {"HWNAS_PROFILES": str(folder / "profiles")},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_the_run_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    from nas.problem.run_file import read_run_file

    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "run.yaml").write_text(text)

    assert read_run_file(tmp_path / "run.yaml").config().name == "flowers"


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
