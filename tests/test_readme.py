"""The README's commands and code are run as they stand, in this process and an empty folder."""

import re
import shlex
import shutil
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from nas.evaluation.free_rules import graph_values
from nas.problem.formatting import seconds_of
from nas.problem.run_file import read_run_file
from nas.problem.search_problem import load_setting
from tests.nas.parts.command_line import nas
from tests.nas.parts.pictures import image_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"<!-- tested -->\n```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("PROFILES", "CACHE", "DEVICES"):
        monkeypatch.setenv(f"HWNAS_{name}", str(tmp_path / name.lower()))
    # What a budget buys is tested elsewhere; here a part of it does, however few kernels that are.
    monkeypatch.setattr("nas.cli.profile.seconds_of", lambda *given: seconds_of(*given) / 6)
    monkeypatch.setattr("latency_models.prediction.fitting.LEAST_KERNELS", 5)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a minute where nothing else runs
def test_the_readme_runs(folder: Path) -> None:
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "nas"
        nas(*words, at=folder)

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    said = StringIO()
    with chdir(folder), redirect_stdout(said):
        exec(code, {})
    assert len(said.getvalue().splitlines()) == 3


def test_the_run_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "run.yaml").write_text(text)

    assert read_run_file(tmp_path / "run.yaml").config().name == "flowers"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_run_file_of_the_readme_works_on_a_folder_of_photos(folder: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (folder / "flowers.yaml").write_text(text)
    classes = ("daisy", "rose", "tulip")
    image_folder(folder / "flowers", classes, each=12, sizes=((90, 120), (130, 80)))

    checked = nas("data", "check", "flowers/", at=folder)
    said = nas("search", "flowers.yaml", "--dry-run", at=folder)

    assert "flowers: 36 pictures of 130x80 to 90x120 (2 sizes)" in checked
    assert "all are resized to 96x96 (fit: squash)" in said
    assert "every step works" in said
    with chdir(folder):
        config = read_run_file(folder / "flowers.yaml").config()
        (baseline,) = load_setting(config).baselines.values()
    values = graph_values(baseline.graph)
    free = [bound for bound in config.constraints if bound.metric.name in values]
    assert [str(bound) for bound in free] == ["size_bytes <= 2e+06"]
    assert free[0].violation(values["size_bytes"]) <= 0


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
