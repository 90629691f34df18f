"""A real search that takes a second: few digits, a small space, one epoch, nothing measured."""

from typing import Any

from nas.problem.run_file import RunFile

# 54 ways of deciding, all of different graphs; the genes of "plain" are conditional.
SPACE: dict[str, Any] = {
    "resolution": 8,
    "stem": {"width": [4, 8, 12], "stride": 2},
    "stages": [
        {
            "depth": [1, 2],
            "width": [8, 16, 24],
            "stride": 2,
            "blocks": ["depthwise_separable", {"plain": {"kernel_size": [1, 3]}}],
        }
    ],
}


def tiny(**changes: Any) -> RunFile:  # noqa: ANN401
    """Returns a run file whose sections are changed by ``changes``."""
    data: dict[str, Any] = {
        "name": "tiny",
        "data": {"kind": "digits", "train": 60, "validation": 60, "test": 60},
        "space": SPACE,
        "objectives": ["accuracy", "macs"],
        "training": {"recipe": "plain", "epochs": 1, "batch_size": 30, "device": "cpu"},
        "search": {"trials": 6, "initial": 4},
    }
    for section, values in changes.items():
        old = data.get(section)
        data[section] = old | values if isinstance(old, dict) else values
    return RunFile(**data)
