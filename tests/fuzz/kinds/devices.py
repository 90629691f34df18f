"""Device rows: TOML, mutated as data and as text."""

import json
from pathlib import Path
from random import Random

from latency_models.devices.device import read_device
from tests.fuzz.mutations import dumped, mangled, mutated
from tests.fuzz.runner import Kind

ROW = {
    "description": "a board",
    "mcpu": "cortex-a72",
    "triple": "aarch64-linux-gnu",
    "rpc": "10.0.0.2:9090",
    "threads": 1,
    "max_drift": 1.5,
}


def kind(folder: Path) -> Kind:
    path = folder / "board.toml"

    def attempt(rng: Random) -> None:
        row = mutated(ROW, rng)
        text = dumped(row)
        if isinstance(row, dict):
            text = "\n".join(f"{json.dumps(key)} = {dumped(each)}" for key, each in row.items())
        path.write_text(mangled(text, rng) if rng.random() < 0.4 else text, errors="surrogatepass")
        read_device(path)

    return Kind("devices", attempt)
