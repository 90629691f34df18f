"""Sources: whether another process runs the same hwnas, and how it finds it on this machine."""

import site
from pathlib import Path


def source_root() -> Path:
    """Returns the folder that holds our packages."""
    return Path(__file__).resolve().parents[4]


def is_checkout() -> bool:
    """Whether our packages are a source checkout, not installed among others."""
    installed = {Path(folder).resolve() for folder in site.getsitepackages()}
    return source_root() not in installed | {Path(site.getusersitepackages()).resolve()}


def survey() -> dict[str, str]:
    """Returns versions, and a fingerprint of our source files, of the process that runs it.

    It is sent to nodes as it stands, so it works where hwnas is missing, and uses nothing of
    this module.
    """
    import hashlib
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec
    from pathlib import Path

    found = {"Python": platform.python_version()}
    for package in ("hwnas", "torch", "numpy", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    digest = hashlib.sha256()
    for package in ("nas", "latency_models", "search_spaces"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            found["hwnas"] = "not installed"
            continue
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder.parent)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    found["source of hwnas"] = digest.hexdigest()[:12]
    return found
