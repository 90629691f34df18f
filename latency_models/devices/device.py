"""Devices: where a network will run, as a TOML row.

Rows come with the package (``latency_models/devices/catalogue``) or from the user's folder
(``~/.config/hwnas/devices``, or ``HWNAS_DEVICES``). A row's name is its file's::

    # ~/.config/hwnas/devices/shop-kiosk.toml
    description = "the kiosk's CPU"
    mcpu = "skylake"        # as LLVM calls it; "detect" is this machine's
    runtime = "tvm"         # or "onnxruntime"
    threads = 1             # TVM kernels know only one

A device elsewhere says how it is reached, and its CPU exactly (``nas device add`` asks it)::

    # ~/.config/hwnas/devices/pi4.toml
    description = "the board under the desk"
    mcpu = "cortex-a72"
    triple = "aarch64-linux-gnu"  # LLVM's name of its platform; without it, this machine's
    rpc = "10.0.0.2:9090"         # where ``nas device serve`` runs

or, for any board of a kind that a tracker knows, ``tracker = "10.0.0.1:9190"`` and ``key = "pi4"``
instead of ``rpc``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from latency_models.devices.folders import devices_folder
from latency_models.devices.host import KNOWN_FLAGS, host_instruction_sets
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.schema import shown

if TYPE_CHECKING:
    from latency_models.devices.cpu import Cpu

Runtime = Literal["tvm", "onnxruntime"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
DETECT = "detect"
MOST_CHARACTERS = 100_000  # of a row
MOST_THREADS, MOST_DRIFT = 4096, 1e6
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
FIELD_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {  # the others are texts
    "threads": ((int,), "a whole number"),
    "max_drift": ((int, float), "a number"),
}


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Attributes:
        mcpu: LLVM's name of the CPU that TVM compiles for; "detect" is this machine's.
        threads: Threads that a runtime may use.
        runtime: What runs networks where nothing else is asked for.
        max_drift: How many times its best the reference kernel may take beside a reading; more
            is a machine too busy to measure on.
        triple: LLVM's name of the platform that TVM compiles for; "" is this machine's.
        rpc: Host and port of the RPC server on a remote device.
        tracker: Host and port of a tracker that knows boards of this kind.
        key: What the tracker calls them.
    """

    name: str
    description: str
    mcpu: str = DETECT
    threads: int = 1
    runtime: Runtime = "tvm"
    max_drift: float = 1.35
    triple: str = ""
    rpc: str = ""
    tracker: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise UserError(
                f"device {self.name}: runtime must be one of {', '.join(RUNTIMES)}, "
                f"got {self.runtime!r}"
            )
        if not 1 <= self.threads <= MOST_THREADS:
            raise UserError(
                f"device {self.name}: threads must be at least 1 and at most {MOST_THREADS}, got "
                f"{shown(self.threads)}"
            )
        if not 1 < self.max_drift <= MOST_DRIFT:
            most = f" and at most {MOST_DRIFT:g}" if self.max_drift > 1 else ""
            raise UserError(
                f"device {self.name}: max_drift must be above 1{most}, got {shown(self.max_drift)}"
            )
        if self.mcpu in ("", "native", "generic"):
            raise UserError(
                f"device {self.name}: mcpu {self.mcpu!r} is no exact CPU and would be timed as "
                "the plainest of its family; name the CPU, or use 'detect' for this machine's"
            )
        self._check_remote()

    def _check_remote(self) -> None:
        if self.rpc and self.tracker:
            raise UserError(
                f"device {self.name}: it is reached at rpc or by a tracker, got both "
                f"({self.rpc!r} and {self.tracker!r}); leave one out"
            )
        if bool(self.tracker) != bool(self.key):
            raise UserError(
                f"device {self.name}: tracker and key go together, got tracker {self.tracker!r} "
                f"and key {self.key!r}; give both or neither"
            )
        if not self.is_remote:
            if self.triple:
                raise UserError(
                    f"device {self.name}: triple {self.triple!r} is for a device elsewhere; give "
                    "its rpc or tracker, or leave it out to use this machine"
                )
            return
        try:
            parse_address(self.rpc or self.tracker)
        except ValueError as error:
            raise UserError(f"device {self.name}: {error}") from None
        if self.runtime != "tvm":
            raise UserError(
                f"device {self.name}: a device elsewhere runs networks with tvm, got "
                f"{self.runtime!r}; measure {self.runtime} on the device itself"
            )
        if self.mcpu == DETECT:
            raise UserError(
                f"device {self.name}: mcpu 'detect' is this machine's CPU and the device is "
                "elsewhere; name its CPU, or let `nas device add` ask the device"
            )

    @property
    def is_remote(self) -> bool:
        """Whether networks run elsewhere, over RPC."""
        return bool(self.rpc or self.tracker)

    @property
    def where(self) -> str:
        """How a remote device is reached, in words."""
        return f"key {self.key} of tracker {self.tracker}" if self.tracker else self.rpc

    @property
    def machine(self) -> str:
        """The machine that a measurement must have for itself: "host" is this one."""
        if not self.is_remote or is_loopback(parse_address(self.rpc or self.tracker)[0]):
            return "host"
        return self.name


def parse_address(text: str) -> tuple[str, int]:
    """Returns host and port of ``HOST:PORT``.

    >>> parse_address("10.0.0.2:9090"), parse_address("[::1]:9090")
    (('10.0.0.2', 9090), ('::1', 9090))

    Raises:
        ValueError: If it is no such address.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"an address must be HOST:PORT, like 10.0.0.2:9090, got {text!r}")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine and nobody else can reach it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_device(path: Path) -> Device:
    """Returns the device that a TOML file describes.

    Raises:
        UserError: If the file is no TOML, or has an unknown field or a wrong value.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it has more than {MOST_CHARACTERS} characters")
        row = tomllib.loads(text)
    except (OSError, ValueError) as error:  # of numbers too long, no TOMLDecodeError
        raise UserError(f"cannot read device {path}: {error}") from None
    except RecursionError:
        raise UserError(f"cannot read device {path}: brackets are nested too deep") from None
    known = [field.name for field in fields(Device) if field.name != "name"]
    for key, value in row.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(known)}"
            raise UserError(f"{path}: a device has no field {shown(key)}; {hint}")
        kinds, noun = FIELD_KINDS.get(key, ((str,), "a text"))
        if type(value) not in kinds:
            raise UserError(f"{path}: {key} must be {noun}, got {shown(value)}")
    if "description" not in row:
        raise UserError(f"{path}: a device needs a description")
    return Device(name=path.stem, **row)


def list_devices() -> tuple[Device, ...]:
    """Returns the devices of the package, then the user's, by name.

    Raises:
        UserError: If a row is wrong, or two have one name.
    """
    bundled = bundled_rows()
    own = sorted(devices_folder().glob("*.toml"))
    if twice := {path.stem for path in bundled} & {path.stem for path in own}:
        raise UserError(
            f"device {min(twice)!r} is in {devices_folder()} and comes with hwnas; rename your "
            "file"
        )
    return tuple(read_device(path) for path in (*bundled, *own))


def bundled_rows() -> list[Path]:
    return sorted(Path(str(files("latency_models.devices") / "catalogue")).glob("*.toml"))


def get_device(name: str, max_drift: float | None = None) -> Device:
    """Returns the device called ``name``.

    Args:
        max_drift: In the place of its own.

    Raises:
        UserError: If there is none, the message lists the known ones; or such a drift is none.
    """
    devices: Mapping[str, Device] = {device.name: device for device in list_devices()}
    if name not in devices:
        raise UserError(
            f"unknown device {name!r}; known devices: {', '.join(devices)}; add your own with "
            "nas device add"
        )
    return devices[name] if max_drift is None else replace(devices[name], max_drift=max_drift)


def cpu_of(device: Device, present: frozenset[str] | None = None) -> "Cpu":
    """Returns the exact CPU that TVM compiles for; the first call imports TVM (seconds).

    Args:
        present: Instruction sets of the machine that will run the code; None is this one's, and
            takes a remote device's CPU at its word.

    Raises:
        UserError: If LLVM does not know the CPU, the machine's lacks some of its instructions,
            so that the code would crash, or the device has several threads.
    """
    from latency_models.devices.cpu import Cpu, host_cpu

    if device.threads != 1:
        raise UserError(
            f"device {device.name}: TVM kernels run on 1 thread, got threads {device.threads}; "
            "set threads to 1, or measure with runtime 'onnxruntime'"
        )
    try:
        cpu = host_cpu() if device.mcpu == DETECT else Cpu(device.mcpu, device.triple)
        needed = cpu.features
    except UserError as error:
        raise UserError(f"device {device.name}: {error}") from None
    if present is None:
        present = needed if device.is_remote else host_instruction_sets()
    if lacking := sorted((needed & KNOWN_FLAGS) - present):
        owner = f"the CPU at {device.where}" if device.is_remote else "this machine's CPU"
        raise UserError(
            f"device {device.name}: code for {cpu.mcpu!r} needs {', '.join(lacking)}, which "
            f"{owner} does not have; choose a device with an older CPU"
        )
    return cpu
