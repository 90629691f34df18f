"""The few names of each package that README, notebooks and scripts use."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import latency_models
import nas
import search_spaces

ROOT = Path(__file__).parent.parent
PACKAGES = (search_spaces, latency_models, nas)
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CODE = {
    f"{page.name}-{index}": text
    for page in PAGES
    for index, text in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
}


def promised(package: ModuleType) -> dict[str, str]:
    """What type checkers are told: by name, the module that it is imported from."""
    tree = ast.parse(Path(str(package.__file__)).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        name.asname or name.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_front_door_is_about_ten_names_that_are_there_and_documented(
    package: ModuleType,
) -> None:
    assert 8 <= len(package.__all__) <= 12
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
    assert dir(package) == sorted(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_type_checkers_are_told_the_same_names(package: ModuleType) -> None:
    assert promised(package) == package.HOMES


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_name_hides_no_room(package: ModuleType) -> None:
    (folder,) = package.__path__

    assert not {path.stem for path in Path(folder).iterdir()} & set(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(package: ModuleType) -> None:
    known = f"no attribute 'serach'; it has .*{package.__all__[0]}"
    with pytest.raises(AttributeError, match=known):
        _ = package.serach


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_importing_a_package_imports_no_library(package: ModuleType) -> None:
    code = (
        f"import sys; before = set(sys.modules); import {package.__name__}; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )

    ours = {package.__name__, "search_spaces"}
    assert set(done.stdout.split()) - ours <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("text", CODE.values(), ids=CODE.keys())
def test_documents_use_front_doors_only(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            top = node.module.partition(".")[0]
            if top in {package.__name__ for package in PACKAGES}:
                assert node.module == top, f"from {node.module} import ..."
                names = {name.name for name in node.names}
                assert names <= set(importlib.import_module(top).__all__)
