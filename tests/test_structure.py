"""Imports go left only, between packages and between rooms, and a folder fits the eye."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("search_spaces", "latency_models", "nas")
# The rooms of each package: each may import those left of it.
ROOMS = {
    "search_spaces": (
        *("graphs", "quantization", "compression", "building", "blocks", "networks"),
        *("space", "inheritance"),
    ),
    "latency_models": (
        *("devices", "onnx", "onnx.drafts", "onnx.reading", "codegen"),
        *("kernels", "kernels.coded", "kernels.sparse", "boards", "compiler"),
        *("measurement", "prediction", "profiling", "transfer"),
    ),
    "nas": (
        *(
            "nn",
            "data.augmentation",
            "data",
            "data.sources",
            "problem",
            "runs",
            "models",
            "models.importing",
            "models.archives.coding",
            "models.archives",
            "models.given",
            "training.recipe",
            "training.inheritance",
            "training",
            "training.supernet",
        ),
        *("serving", "evaluation", "evaluation.ray.nodes", "evaluation.ray", "study"),
        *("runs.findings", "search.proposals.learning", "search.proposals"),
        *("search.proposals.insight", "search", "export"),
        *("compression", "compression.steps", "compression.running"),
        *("report.drawing", "report", "compression.report"),
        *("cli.terminal", "cli.models", "cli"),
    ),
}
WIDEST = 14  # entries that a folder shows
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


@cache
def modules() -> dict[str, Path]:
    """The modules of the three packages and where they lie."""
    found = {}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def named(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = [f"{node.module}.{name.name}" for name in node.names]
            names = [name if name in modules() else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in modules())


def room_of(module: str) -> str:
    """The room that a module is in; "" for the package itself."""
    layer, _, inside = module.partition(".")
    rooms = [room for room in ROOMS[layer] if f"{inside}.".startswith(f"{room}.")]
    return max(rooms, key=len, default="")


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_left(layer: str) -> None:
    right = set(LAYERS[LAYERS.index(layer) + 1 :])
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / layer).rglob("*.py")
        for name in imported(path) & right
    }

    assert wrong == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_between_rooms_go_left(layer: str) -> None:
    order = ROOMS[layer]
    wrong = {
        f"{module} imports {other}"
        for module in modules()
        if module.startswith(f"{layer}.") and (room := room_of(module))
        for other in named(module)
        if other.startswith(f"{layer}.")
        and (there := room_of(other)) in order
        and order.index(there) > order.index(room)
    }

    assert wrong == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_folder_of_code_is_a_room_in_the_order(layer: str) -> None:
    folders = {path.parent for name, path in modules().items() if name.startswith(f"{layer}.")}
    inside = {".".join(folder.relative_to(ROOT / layer).parts) for folder in folders} - {""}

    assert inside == set(ROOMS[layer])


def test_no_file_needs_itself_through_others() -> None:
    needs = {
        module: {other for other in named(module) if other != module}
        for module, path in modules().items()
        if path.name != "__init__.py"
    }

    assert list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("layer", LAYERS)
def test_a_folder_shows_no_more_than_fits_the_eye(layer: str) -> None:
    shown = defaultdict(set)
    for path in (ROOT / layer).rglob("*"):
        if "__" not in path.name and "__pycache__" not in path.parts and path.suffix != ".typed":
            shown[path.parent].add(path.name)

    wide = {str(folder.relative_to(ROOT)): len(names) for folder, names in shown.items()}
    assert {folder: count for folder, count in wide.items() if count > WIDEST} == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_room_says_in_one_sentence_what_it_is(layer: str) -> None:
    for room in ROOMS[layer]:
        path = ROOT / layer / room.replace(".", "/") / "__init__.py"
        said = ast.get_docstring(ast.parse(path.read_text()))

        assert said is not None, f"{path} says nothing"
        assert len(said.splitlines()) == 1, path
        assert said.endswith("."), path


def test_no_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


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
        ("nas.search.proposals.insight.outlook", {"torch", "tvm", "onnxruntime", "sklearn"}),
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
            found.add(ast.unparse(node.func))
        wrong |= {f"{path.relative_to(ROOT)} uses {name}" for name in found}

    assert wrong == set()


def says_no_encoding(node: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of whoever runs it."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    given = {each.arg for each in node.keywords}
    if "encoding" in given or None in given:
        return False
    if name in ("read_text", "write_text"):
        return len(node.args) <= (name == "write_text")
    if name != "open" or ast.unparse(node.func).startswith(("os.", "Image.", "Path.")):
        return False
    modes = [each.value for each in node.args if isinstance(each, ast.Constant)]
    return not node.args or any(mode in ("r", "w", "a", "x") for mode in modes)


@pytest.mark.parametrize("layer", LAYERS)
def test_text_files_are_utf8_whatever_the_locale(layer: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and says_no_encoding(node)
    }

    assert wrong == set()
