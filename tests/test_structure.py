"""Imports go left only, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("search_spaces", "latency_models", "nas")
# What each layer may import beside the standard library and the layers left of it.
FITTING = ("pandas", "scipy", "sklearn")
ALLOWED = {
    "search_spaces": {"numpy"},
    "latency_models": {*("numpy", "onnx", "onnxruntime", "tvm", "psutil"), *FITTING},
}


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_left(layer: str) -> None:
    right = set(LAYERS[LAYERS.index(layer) + 1 :])
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / layer).rglob("*.py")
        for name in imported(path) & right
    }

    assert wrong == set()


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_a_layer_knows_only_its_libraries(layer: str) -> None:
    known = set(sys.stdlib_module_names) | ALLOWED[layer] | set(LAYERS)
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / layer).rglob("*.py")
        for name in imported(path) - known
    }

    assert wrong == set()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("nas.cli", {"torch", "tvm", "optuna", "onnxruntime", "sklearn", "pandas", "plotly"}),
        ("search_spaces.networks", {"torch", "tvm", "optuna", "pydantic", "onnx"}),
        ("nas.problem.run_file", {"torch", "tvm", "onnxruntime"}),
        ("nas.study.status", {"torch", "tvm", "onnxruntime"}),
        ("latency_models.measurement.measurer", {"torch", "tvm", "optuna", "pydantic"}),
        ("latency_models.prediction.model", {"torch", "tvm", "onnx", "onnxruntime", *FITTING}),
    ],
)
def test_importing_stays_light(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({heavy!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert done.stdout.strip() == ""


def test_the_tvm_that_is_installed_is_the_compiler() -> None:
    """PyPI also has a package called tvm, which is about the time value of money."""
    from importlib.metadata import packages_distributions

    assert set(packages_distributions().get("tvm", [])) == {"apache-tvm"}


UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
}


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_that_is_read_can_run_code(layer: str) -> None:
    """Run folders, configurations and studies of others are data."""
    wrong = set()
    for path in (ROOT / layer).rglob("*.py"):
        found = imported(path) & UNSAFE_MODULES
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in UNSAFE_CALLS:
                continue
            loader = {ast.unparse(k.value) for k in node.keywords} | set(
                map(ast.unparse, node.args)
            )
            if ast.unparse(node.func) != "yaml.load" or "Loader" not in loader:
                found.add(ast.unparse(node.func))
        wrong |= {f"{path.relative_to(ROOT)} uses {name}" for name in found}

    assert wrong == set()
