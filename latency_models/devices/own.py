"""Own devices: rows of the user's, that are added, changed and removed."""

import json
from dataclasses import fields
from pathlib import Path

from latency_models.devices.device import NAME, Device, bundled_rows, cpu_of, get_device
from latency_models.devices.folders import devices_folder
from search_spaces.graphs.errors import UserError


def file_of(name: str) -> Path:
    return devices_folder() / f"{name}.toml"


def own_file(name: str) -> Path | None:
    """Returns the file of a device of the user's; None where it comes with hwnas, or is none."""
    path = file_of(name)
    return path if path.exists() else None


def own_device(name: str) -> Device:
    """Returns a device that the user may change.

    Raises:
        UserError: If there is none, or it comes with hwnas.
    """
    device = get_device(name)
    if own_file(name) is None:
        raise UserError(
            f"device {name!r} comes with hwnas; only your own can be changed or removed, and "
            "nas device add makes one"
        )
    return device


def remove_device(name: str) -> Path:
    """Removes a device of the user's, and returns what was its file.

    Raises:
        UserError: If it is none.
    """
    path = file_of(own_device(name).name)
    path.unlink()
    return path


def add_device(device: Device, *, replace: bool = False) -> Path:
    """Writes a device into the user's folder, and returns the file.

    Raises:
        UserError: If the name is taken or no file's, or its CPU cannot be compiled for.
    """
    if not NAME.fullmatch(device.name):
        raise UserError(
            f"a device's name must be lower-case letters, digits, '-' and '_', got {device.name!r}"
        )
    path = file_of(device.name)
    if device.name in {bundled.stem for bundled in bundled_rows()}:
        raise UserError(f"device {device.name!r} comes with hwnas; choose another name")
    if path.exists() and not replace:
        raise UserError(f"device {device.name!r} is in {path}; replace it with --force")
    if device.runtime == "tvm":
        cpu_of(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_toml(device), "utf-8")
    return path


def to_toml(device: Device) -> str:
    """Returns a device's row: what is not as usual, and the description.

    >>> print(to_toml(Device("pi4", "a board", "cortex-a72", rpc="10.0.0.2:9090")), end="")
    description = "a board"
    mcpu = "cortex-a72"
    rpc = "10.0.0.2:9090"
    """
    rows = [f"description = {json.dumps(device.description, ensure_ascii=False)}"]
    for field in fields(Device)[2:]:
        value = getattr(device, field.name)
        if value != field.default:
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
            rows.append(f"{field.name} = {text}")
    return "\n".join(rows) + "\n"
