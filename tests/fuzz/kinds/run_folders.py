"""Run folders: every file of one, damaged, read by all that read runs."""

import json
from pathlib import Path
from random import Random
from shutil import copytree, rmtree

from nas.report.page import report_html
from nas.runs.files import write_json
from nas.runs.findings.front import front_json
from nas.study.results import load_results
from nas.study.status import StatusReader, status_to_json
from tests.fuzz.mutations import damaged, dumped, mangled, mutated
from tests.fuzz.runner import Kind
from tests.nas.parts.runs import make_run


def kind(folder: Path) -> Kind:
    right = make_run(folder / "right", trials=6).run.path
    place = folder / "tried"
    write_json(right / "front.json", {"front": [{"hash": "x", "test_accuracy": 0.5}]})

    def attempt(rng: Random) -> None:
        rmtree(place, ignore_errors=True)
        copytree(right, place)
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        spoil(rng.choice([*files, *[place / "study.journal"] * len(files)]), rng)
        results = load_results(place)
        status, _ = StatusReader(place).read()
        json.dumps(status_to_json(status), default=str)
        front_json(results)
        for trial in results.trials:
            results.run.load_architecture(trial.hash)
        if rng.random() < 0.2:
            report_html(results)

    return Kind("run_folders", attempt, lines=30)


def spoil(path: Path, rng: Random) -> None:
    if rng.random() < 0.3:
        path.write_bytes(damaged(path.read_bytes() or b"x", rng))
        return
    text = path.read_text(errors="replace")
    if path.suffix == ".json" and rng.random() < 0.8:
        path.write_text(dumped(mutated(json.loads(text), rng)))
    elif path.suffix == ".journal" and rng.random() < 0.8:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = dumped(mutated(json.loads(lines[at]), rng))
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(mangled(text, rng), errors="surrogatepass")
