"""Takes every section's figures, and writes them down or compares them."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

from benchmarks.numbers.command_line import command_figures, schema_figures
from benchmarks.numbers.compiled import code_figures, output_figures
from benchmarks.numbers.exported import onnx_figures
from benchmarks.numbers.figures import Figure, flat, quiet_place, told
from benchmarks.numbers.graphs import graph_figures, move_figures
from benchmarks.numbers.plans import lowering_figures, plan_figures
from benchmarks.numbers.predicted import model_figures
from benchmarks.numbers.run_files import run_folder_figures
from benchmarks.numbers.searched import search_figures
from benchmarks.numbers.trained import calibration_figures, training_figures
from benchmarks.numbers.transferred import transfer_figures

SECTIONS: Mapping[str, Callable[[Path], Mapping[str, Figure]]] = {
    "graphs": lambda folder: graph_figures(),
    "moves": lambda folder: move_figures(),
    "onnx": lambda folder: onnx_figures(),
    "plans": lambda folder: plan_figures(),
    "lowering": lambda folder: lowering_figures(),
    "code": lambda folder: code_figures(),
    "outputs": lambda folder: output_figures(),
    "training": lambda folder: training_figures(),
    "calibration": lambda folder: calibration_figures(),
    "predictions": model_figures,
    "transfer": transfer_figures,
    "searches": search_figures,
    "run folder": run_folder_figures,
    "commands": lambda folder: command_figures(),
    "schemas": lambda folder: schema_figures(),
}


def take_figures(names: list[str]) -> dict[str, Mapping[str, Figure]]:
    found: dict[str, Mapping[str, Figure]] = {}
    with tempfile.TemporaryDirectory() as folder, quiet_place(Path(folder)):
        for name in names:
            start = perf_counter()
            place = Path(folder) / name.replace(" ", "_")
            place.mkdir()
            found[name] = SECTIONS[name](place)
            took = perf_counter() - start
            print(f"{name}: {len(flat(found[name]))} figures in {took:.1f} s", file=sys.stderr)
    return found


def differences(before: Mapping[str, Figure], now: Mapping[str, Figure]) -> list[str]:
    """Returns a line for every figure that is gone, new or another one."""
    old, new = flat(before), flat(now)
    gone = [f"{key}: {told(old[key])} is gone" for key in old if key not in new]
    added = [f"{key}: {told(new[key])} is new" for key in new if key not in old]
    both = [key for key in old if key in new and old[key] != new[key]]
    return gone + added + [f"{key}: {told(old[key])} -> {told(new[key])}" for key in both]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with these")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="one section alone")
    given = parser.parse_args()
    names = given.only or list(SECTIONS)
    found = take_figures(names)
    if given.to is not None:
        given.to.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if given.against is not None:
        before = json.loads(given.against.read_text())
        now = json.loads(json.dumps(found))  # tuples are lists there
        lines = differences({name: before.get(name, {}) for name in names}, now)
        if lines:
            sys.exit("\n".join(lines))
        print(f"identical: {len(flat(now))} figures")


if __name__ == "__main__":
    main()
