"""Memory and seconds that images cost: one copy, whatever the number of workers, decoded once.

    python -m benchmarks.data_memory --json docs/results/data_memory.json

A data set of 12,500 colour images of 64x64 (147 MiB as pixels) is searched in two trials of one
epoch, by one process and by two workers; beside it the same search over 500 of the images. What
the larger one takes more, in units of the pixels' size, is what the images cost. Memory is the
proportional set size (shared pages counted once) of all processes of the command, every 20 ms.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import numpy as np
import psutil
from PIL import Image

from benchmarks.report import print_table, write_json
from nas.data.sources.registry import load, make_source

RUN = """
name: {name}
data: {{kind: npz, path: {path}}}
space:
  resolution: 16
  stem: {{width: 4, stride: 2}}
  stages: [{{depth: 1, width: [4, 6], stride: 2, blocks: [plain]}}]
training: {{epochs: 1, batch_size: 64, device: cpu}}
objectives: [accuracy, macs]
search: {{trials: 2, initial: 2, workers: {workers}}}
"""


def peak_bytes(folder: Path, name: str, images: int, workers: int, more: list[str]) -> int:
    """Returns the peak of a search's memory."""
    path, peak = folder / f"{name}.yaml", 0
    text = RUN.format(name=name, path=folder / f"{images}.npz", workers=workers)
    path.write_text(text, "utf-8")
    command = [sys.executable, "-m", "nas", "search", str(path), *more]
    kept = {"HWNAS_IMAGES": str(folder / f"kept {name}"), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), **kept}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        root = psutil.Process(running.pid)
        while running.poll() is None:
            peak = max(peak, sum(proportional(root)))
            sleep(0.02)
        assert running.stdout is not None
        assert running.returncode == 0, running.stdout.read().decode()
    return peak


def proportional(root: psutil.Process) -> Iterator[int]:
    """Yields the proportional set size of a process and all below it."""
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            yield process.memory_full_info().pss
        except psutil.Error:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12_500)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    few, rng = 500, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (arguments.images, 64, 64, 3), np.uint8)
    labels = np.arange(arguments.images) % 5
    rows = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        for count in (few, arguments.images):
            np.savez(folder / f"{count}.npz", images=pixels[:count], labels=labels[:count])
        for name, workers, more in (
            ("dry run", 1, ["--dry-run"]),
            ("search", 1, []),
            ("two workers", 2, []),
        ):
            small, large = (
                peak_bytes(folder, f"{name.replace(' ', '_')}_{count}", count, workers, more)
                for count in (few, arguments.images)
            )
            added = (large - small) / (pixels.nbytes * (1 - few / arguments.images))
            sizes = {"few_mib": small / 2**20, "all_mib": large / 2**20}
            rows.append({"command": name, **sizes, "copies": added})
        first, second = decoded_twice(folder, arguments.pictures)
    print_table("memory, in copies of the pixels", rows)
    summary = {"pictures": arguments.pictures, "first_s": first, "second_s": second}
    print_table("pictures of 256x256 to 64x64", [summary])
    write_json(arguments.json, rows, summary)


def decoded_twice(folder: Path, count: int) -> tuple[float, float]:
    """Returns the seconds in which pictures are loaded the first and the second time."""
    os.environ["HWNAS_IMAGES"] = str(folder / "kept pictures")
    rng = np.random.default_rng(1)
    for index in range(count):
        path = folder / "pictures" / "ab"[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(smooth).resize((256, 256)).save(path)
    source = make_source("folder", path=str(folder / "pictures"), resolution=(64, 64))
    seconds = []
    for _ in range(2):
        start = perf_counter()
        assert len(load(source).data) == count
        seconds.append(perf_counter() - start)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main()
