"""The README's commands and code are run as they stand, in a folder of their own.

The packages are copied there, with devices that may be read whatever else the machine does: what
is tested is that the commands work, and other tests run beside them.
"""

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
    for part in ("examples", "search_spaces", "latency_models", "nas"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for row in (place / "latency_models/devices/catalogue").glob("*.toml"):
        row.write_text(row.read_text() + "max_drift = 1000\n")
    return place


def run(folder: Path, *words: str) -> str:
    """What Python prints for these words, with the packages of the folder."""
    own = {name: str(folder / name.lower()) for name in ("PROFILES", "CACHE", "DEVICES")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ
        | {f"HWNAS_{name}": path for name, path in own.items()}
        | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two or three minutes where nothing else runs
def test_the_readme_runs(folder: Path) -> None:
    assert run(folder, "-c", "import nas; print(nas.__file__)").startswith(str(folder))
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        words = command.split()
        assert words[0] == "nas"
        run(folder, "-m", *words)

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(run(folder, "-c", code).splitlines()) == 3


def test_the_run_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    from nas.problem.run_file import read_run_file

    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "run.yaml").write_text(text)

    assert read_run_file(tmp_path / "run.yaml").config().name == "flowers"


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
