"""What a command imports: the seconds that it costs, by a measure that no busy machine changes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HEAVY = {
    *("torch", "tvm", "optuna", "onnx", "onnxruntime", "sklearn", "scipy", "pandas", "pyarrow"),
    *("fastapi", "uvicorn", "plotly", "ray"),
}
PROGRAM = f"""
import sys
from nas.cli import app
app(sys.argv[1:], standalone_mode=False)
print(*sorted({HEAVY!r} & {{name for name, module in sys.modules.items() if module}}))
"""


def heavy_imports(
    *words: str, at: Path, environment: Mapping[str, str] | None = None
) -> tuple[str, list[str]]:
    """Runs ``nas`` in a process; returns what it printed and which heavy libraries it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=at,
        env=os.environ | {"COLUMNS": "200"} | dict(environment or {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, _, heavy = done.stdout.removesuffix("\n").rpartition("\n")
    return said, heavy.split()
