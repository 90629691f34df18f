"""Connection: this process as a driver of a Ray cluster, for as long as a block runs."""

import logging
import os
import platform
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_models.devices.device import is_loopback, parse_address
from nas.evaluation.ray.head_watch import answers
from nas.evaluation.ray.nodes import local_cluster
from nas.evaluation.ray.nodes.probe import ClusterHead, ClusterNode, ask_head, reach
from nas.evaluation.ray.nodes.ray_private import (
    address_found_here,
    for_ray,
    quietly,
    read_variables_again,
)
from nas.evaluation.ray.nodes.sources import is_checkout, source_root
from search_spaces.graphs.errors import UserError

AUTO = "auto"
NAMESPACE = "hwnas"
DEBUGGER = "PYTHONBREAKPOINT"
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
START_ONE = "start one with 'nas cluster up --nodes 2', or give the address of its head, HOST:PORT"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: Of its head, as HOST:PORT.
        where: What cluster it is, for people.
        this_node_id: The node that this process is a driver on.
        nodes: Those that were alive when it connected.
    """

    address: str
    where: str
    this_node_id: str
    nodes: tuple[ClusterNode, ...]


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where to connect, and how.

    Attributes:
        access: Ray's variables for the token.
        source: The folder that its nodes are known to import hwnas from; "" where that is theirs.
    """

    address: str
    where: str
    access: Mapping[str, str]
    source: str = ""


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connects to the cluster at ``HOST:PORT``, or to the one that ``auto`` finds.

    ``auto`` is the local cluster if one is up, else the address in ``RAY_ADDRESS``, else what
    Ray itself finds on this machine.

    Raises:
        UserError: If there is none, it cannot be reached, it refuses the token, it is of another
            Ray or Python, or this machine is none of its nodes.
    """
    target = find(address)
    head = ask_head(target.address, target.access)
    check_versions(target.address, head)
    check_is_here(target.address, head)
    with access(target.access), undisturbed(), quietly():
        import ray

        connect(target)
        try:
            yield Cluster(
                target.address,
                target.where,
                ray.get_runtime_context().get_node_id(),
                tuple(node for node in head.nodes if node.is_alive),
            )
        finally:
            if answers(target.address):  # else Ray would wait a minute for it
                ray.shutdown()


def find(address: str) -> ClusterAddress:
    """Returns where the cluster is.

    Raises:
        UserError: If there is none, or no token for it.
    """
    local = local_cluster.running()
    if local is not None and address in (AUTO, local.address):
        where = f"local cluster of {len(local.raylets)} nodes at {local.address}"
        return ClusterAddress(local.address, where, local.environment, local.source)
    if address == AUTO:
        address = found_by_ray()
    reach(address)
    return ClusterAddress(address, f"Ray cluster at {address}", users_access(address))


def found_by_ray() -> str:
    given = os.environ.get("RAY_ADDRESS", "")
    found = given if given not in ("", AUTO) else address_found_here()
    if not found or found == "local":
        raise UserError(f"no Ray cluster is found from here; {START_ONE}")
    return found


def users_access(address: str) -> dict[str, str]:
    """Returns Ray's variables for a cluster of the user's own, by where Ray looks for a token.

    Raises:
        UserError: If there is no token and others can reach the cluster, or a token's file cannot
            be read.
    """
    if os.environ.get(TOKEN):
        return {MODE: "token", TOKEN: os.environ[TOKEN]}
    given = os.environ.get(TOKEN_PATH)
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    try:
        if path.read_text("utf-8").strip():
            return {MODE: "token", TOKEN_PATH: str(path)}
    except (OSError, UnicodeDecodeError) as error:
        if given:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UserError(
                f"cannot read the cluster's token in {path} ({TOKEN_PATH}): {reason}"
            ) from None
    if given:
        raise UserError(f"the cluster's token in {path} ({TOKEN_PATH}) is empty")
    if not is_loopback(parse_address(address)[0]):
        raise UserError(
            f"the cluster at {address} can be reached by other machines, and there is no token "
            f"for it; start its nodes with {MODE}=token, and set {TOKEN_PATH} to the token's file "
            "here (see docs/cluster.md)"
        )
    return {MODE: "disabled"}


@contextmanager
def access(variables: Mapping[str, str]) -> Iterator[None]:
    """Lets Ray in this process connect as ``variables`` say; sets them back afterwards."""
    names = (MODE, TOKEN, TOKEN_PATH)
    before = {name: os.environ.get(name) for name in names}
    put({name: variables.get(name) for name in names})
    try:
        read_variables_again()
        yield
    finally:
        put(before)
        read_variables_again()


def put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def check_versions(address: str, head: ClusterHead) -> None:
    """Raises UserError if the head runs another Ray or Python, which Ray does not bridge."""
    import ray

    mine = {"ray": ray.__version__, "python": platform.python_version()}
    other = {name: theirs for name, theirs in head.versions.items() if theirs != mine[name]}
    if other:
        differences = " and ".join(
            f"{name.capitalize()} {theirs} there and {mine[name]} here"
            for name, theirs in other.items()
        )
        raise UserError(
            f"the cluster at {address} runs another version: {differences}; install the same in "
            "both places"
        )


def check_is_here(address: str, head: ClusterHead) -> None:
    """Raises UserError if no live node of the cluster is on this machine."""
    if not any(node.is_here and node.is_alive for node in head.nodes):
        raise UserError(
            f"this machine is no node of the cluster at {address}, as a search's driver must be; "
            f"join it first with: ray start --address={address} --num-cpus=0"
        )


def connect(target: ClusterAddress) -> None:
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        raise UserError(
            "this process is connected to a Ray cluster already; call ray.shutdown() first"
        )
    try:
        ray.init(
            address=for_ray(target.address),
            namespace=NAMESPACE,
            runtime_env=runtime_env(target),
            log_to_driver=False,  # the progress bar is the terminal's
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (RayError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"cannot connect to the Ray cluster at {target.address} ({reason}); look at it with "
            "'ray status', and at its logs in /tmp/ray/session_latest/logs on its head"
        ) from None


def runtime_env(target: ClusterAddress) -> dict[str, Any]:
    """Returns where workers find hwnas, if this process has it from a source checkout.

    A folder's path costs nothing, works on this machine and wherever the checkout is mounted, and
    is skipped where it is not there: those nodes need hwnas installed, as they need torch and TVM
    anyway. Uploading the packages would leave out nothing of that, and hide that a node's own
    hwnas is another one; `nas.evaluation.ray.checks` compares it instead.
    """
    root = str(source_root())
    if not is_checkout() or target.source == root:
        return {}
    return {"env_vars": {"PYTHONPATH": root}}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gives back the signal handler and the variable that Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    debugger = os.environ.get(DEBUGGER)
    try:
        yield
    finally:
        put({DEBUGGER: debugger})
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
