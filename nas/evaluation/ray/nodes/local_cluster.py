"""Local cluster: several Ray nodes on this machine, for trying things.

Only this machine and user can use it: every node listens at loopback alone (see
`nas.evaluation.ray.nodes.ray_private`) and asks for a token that only a private file holds.
"""

import fcntl
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from latency_models.devices.folders import cache_folder
from nas.evaluation.ray.nodes.probe import ClusterHead, ask_head
from nas.evaluation.ray.nodes.processes import MARK, end_processes, find_processes
from nas.evaluation.ray.nodes.ray_private import HOOK, for_ray
from nas.evaluation.ray.nodes.sources import source_root
from search_spaces.graphs.errors import UserError

START_LIMIT_S = 60.0  # for one node
STORE_BYTES = 200_000_000  # of a node's object store; a candidate is a few megabytes
SOCKET_PATH = 107  # characters that the path of a Unix socket may have
SOCKET_TAIL = len("/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.99")


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What a node offers.

    Attributes:
        resources: Beside CPUs and GPUs, e.g. ``{"device:pi4": 1}``.
    """

    cpus: int = 1
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cpus < 0 or self.gpus < 0:
            raise UserError(
                f"a node's CPUs and GPUs must be at least 0, got {self.cpus} and {self.gpus}"
            )


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A local cluster as its state file tells it.

    Attributes:
        address: Of its head, as HOST:PORT; "" while it starts.
        temp: Folder of its sockets and Ray's logs, private to the user.
        source: The folder that its nodes import hwnas from.
        raylets: Process ids of the nodes' raylets by the name of their node, as they started.
    """

    address: str
    temp: Path
    token_file: Path
    source: str
    started: str
    versions: Mapping[str, str]
    raylets: Mapping[str, int]

    @property
    def environment(self) -> dict[str, str]:
        """By which Ray may connect."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    def head(self) -> ClusterHead:
        return ask_head(self.address, self.environment)


def folder() -> Path:
    return cache_folder() / "cluster"


def state_file() -> Path:
    return folder() / "state.json"


def read_state() -> LocalCluster | None:
    """Returns the cluster that was started last and not ended; None where there is none."""
    try:
        data = json.loads(state_file().read_text("utf-8"))
        paths = {key: Path(data[key]) for key in ("temp", "token_file")}
        return LocalCluster(**(data | paths))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{state_file()} is damaged ({error}); end what runs of it ('ray stop' ends every "
            "Ray of yours on this machine) and delete the file"
        ) from None


def write_state(cluster: LocalCluster) -> None:
    part = state_file().with_name(f".{state_file().name}.{os.getpid()}.part")
    text = json.dumps(asdict(cluster), indent=1, default=str)
    with open(
        os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text + "\n")
    part.replace(state_file())


def running() -> LocalCluster | None:
    """Returns the local cluster if its head is at work."""
    cluster = read_state()
    if cluster is None or not cluster.address or not head_lives(cluster):
        return None
    return cluster


def head_lives(cluster: LocalCluster) -> bool:
    return bool(find_named(cluster, "gcs_server"))


def find_named(cluster: LocalCluster, name: str) -> list[int]:
    """Returns the process ids of the cluster's live processes of one name."""
    found = []
    for process in find_processes(cluster.temp):
        with suppress(psutil.Error):
            if process.name() == name:
                found.append(process.pid)
    return found


@contextmanager
def alone() -> Iterator[None]:
    """Lets one process at a time start or end the local cluster.

    Raises:
        UserError: If another one does so now.
    """
    path = folder()
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    with (path / "lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                "another 'nas cluster up' or 'down' is at work; wait until it is done"
            ) from None
        yield


def start(sizes: Sequence[NodeSize]) -> tuple[LocalCluster, bool]:
    """Starts a node of each size, the head first.

    Returns:
        The cluster, and whether it was started now: one that runs is left as it is.

    Raises:
        UserError: If a node does not start; nothing is left running then.
    """
    if not sizes:
        raise UserError("a cluster must have at least 1 node, got 0; give --nodes 2")
    with alone():
        if (cluster := running()) is not None:
            return cluster, False
        clear()
        cluster = prepare()
        write_state(cluster)  # before any process is, so that 'down' finds all of them
        try:
            for index, size in enumerate(sizes):
                address = start_node(cluster, name_of(index), size)
                cluster = with_node(cluster, address, name_of(index))
                write_state(cluster)
        except BaseException:
            keep_logs(cluster)
            clear()
            raise
        return cluster, True


def stop() -> tuple[int, int]:
    """Ends the local cluster, whatever is left of it; returns how many nodes and processes."""
    with alone():
        return clear()


def name_of(index: int) -> str:
    return f"node-{index + 1}"


def prepare() -> LocalCluster:
    token_file = folder() / "token"
    token_file.unlink(missing_ok=True)
    with open(
        os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(secrets.token_hex(32))
    shutil.rmtree(folder() / "logs", ignore_errors=True)
    (folder() / "logs").mkdir()
    return LocalCluster(
        address="",
        temp=Path(tempfile.mkdtemp(prefix="hwnas-", dir=short_folder())),
        token_file=token_file,
        source=str(source_root()),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"ray": version("ray"), "python": platform.python_version()},
        raylets={},
    )


def short_folder() -> str:
    """Returns a folder for temporary files whose path leaves room for Ray's sockets.

    Raises:
        UserError: If there is none.
    """
    length = SOCKET_PATH - SOCKET_TAIL - len("/hwnas-12345678")
    for path in (tempfile.gettempdir(), "/tmp"):
        if len(path) <= length and os.access(path, os.W_OK):
            return path
    raise UserError(
        f"Ray's sockets need a temporary folder whose path has at most {length} characters, got "
        f"{tempfile.gettempdir()}; set TMPDIR to a shorter one"
    )


def start_node(cluster: LocalCluster, name: str, size: NodeSize) -> str:
    """Starts a node, and returns the address of the cluster's head.

    Raises:
        UserError: If it does not start.
    """
    ray_temp = cluster.temp / "r"  # Ray lets everybody into its folder, but nobody else into ours
    which = (
        ["--address", for_ray(cluster.address)]
        if cluster.address
        else ["--head", "--port=0", "--include-dashboard=false", f"--temp-dir={ray_temp}"]
    )
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", *which),
        *("--node-name", name, "--disable-usage-stats"),
        *(f"--num-cpus={size.cpus}", f"--num-gpus={size.gpus}"),
        *("--resources", json.dumps(dict(size.resources))),
        f"--object-store-memory={STORE_BYTES}",
        *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
    ]
    output = folder() / "logs" / f"{name}.log"
    with output.open(
        "w", encoding="utf-8"
    ) as log:  # a file, as the node's processes keep it for themselves
        try:
            done = subprocess.run(
                command,
                env=node_environment(cluster),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=START_LIMIT_S,
                start_new_session=True,  # Ctrl-C here is not for the nodes
                check=False,
            )
            failed = done.returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
    address_file = ray_temp / "ray_current_cluster"
    if failed or not address_file.exists():
        raise UserError(f"{name} of the cluster did not start ({cause(output)}); see {output}")
    return cluster.address or address_file.read_text("utf-8").strip()


def node_environment(cluster: LocalCluster) -> dict[str, str]:
    """Returns the environment of a node, and so of the workers on it."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = os.pathsep.join(filter(None, (cluster.source, os.environ.get("PYTHONPATH", ""))))
    ours = {MARK: str(cluster.temp), "RAY_START_HOOK": HOOK, "RAY_USAGE_STATS_ENABLED": "0"}
    return mine | cluster.environment | ours | {"PYTHONPATH": path}


def cause(output: Path) -> str:
    """Returns the last line of a log that says something of an error, or else the last one."""
    lines = [
        line.strip() for line in output.read_text(errors="replace", encoding="utf-8").splitlines()
    ]
    lines = [line for line in lines if line]
    telling = [line for line in lines if "Error" in line or "rror:" in line]
    return (telling or lines or [f"no answer within {START_LIMIT_S:g} s"])[-1][:300]


def with_node(cluster: LocalCluster, address: str, name: str) -> LocalCluster:
    known = set(cluster.raylets.values())
    new = [pid for pid in find_named(cluster, "raylet") if pid not in known]
    raylets = dict(cluster.raylets) | dict.fromkeys([name], new[-1] if new else 0)
    return replace(cluster, address=address, raylets=raylets)


def keep_logs(cluster: LocalCluster) -> None:
    """Saves Ray's own logs of a cluster that did not start."""
    logs = cluster.temp / "r" / "session_latest" / "logs"
    if logs.is_dir():
        shutil.copytree(logs, folder() / "logs" / "ray", dirs_exist_ok=True)


def clear() -> tuple[int, int]:
    cluster = read_state()
    if cluster is None:
        return 0, 0
    ended = end_processes(cluster.temp)
    shutil.rmtree(cluster.temp, ignore_errors=True)
    cluster.token_file.unlink(missing_ok=True)
    state_file().unlink(missing_ok=True)
    return len(cluster.raylets), ended
