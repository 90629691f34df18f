"""Probe: asks the head of a cluster about itself, in a process of its own.

Ray's client waits for most of a minute where it is refused, writes to the terminal from C++
meanwhile, and may end its process. So the first contact is made by a child that can be ended at
the first sign of a refusal.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile
from time import monotonic, sleep
from typing import IO, Any

from latency_models.devices.device import parse_address
from nas.evaluation.ray.nodes.ray_private import for_ray, look_at_head
from search_spaces.graphs.errors import UserError

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 20.0
POLL_S = 0.02
REFUSED = ("InvalidAuthToken", "Unauthenticated", "AuthenticationError")


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node of a cluster.

    Attributes:
        name: As it was started with, or else its address.
        resources: All that it has, free or not.
        is_here: Whether it runs on this machine.
    """

    node_id: str
    name: str
    host: str
    is_alive: bool
    is_head: bool
    is_here: bool
    resources: Mapping[str, float]

    def has(self, resource: str) -> float:
        return self.resources.get(resource, 0.0)


@dataclass(frozen=True, slots=True)
class ClusterHead:
    """What the head of a cluster tells.

    Attributes:
        versions: Of Python and Ray.
        nodes: Alive and dead ones, those that run longest first.
    """

    versions: Mapping[str, str]
    nodes: tuple[ClusterNode, ...]


class AccessError(UserError):
    """The cluster does not know the token."""


def reach(address: str) -> None:
    """Makes sure that something listens at an address.

    Raises:
        UserError: If the address is none, or nothing answers there.
    """
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise UserError(f"--ray: {error}, or auto") from None
    try:
        socket.create_connection((host, port), timeout=CONNECT_LIMIT_S).close()
    except (OSError, UnicodeError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else str(error)
        raise UserError(
            f"cannot reach a Ray cluster at {address} (tried for {CONNECT_LIMIT_S:g} s: "
            f"{reason}); check that its head runs ('ray status' there), the port (6379 unless it "
            "was given another), and the firewall between"
        ) from None


def ask_head(address: str, environment: Mapping[str, str]) -> ClusterHead:
    """Returns what the head at an address tells, within `ANSWER_LIMIT_S`.

    Args:
        environment: Beside this process's own: how Ray is to prove that it may connect.

    Raises:
        AccessError: If it refuses the token.
        UserError: If what is there is no Ray head, or it does not answer in time.
    """
    reach(address)
    command = [sys.executable, "-m", "nas.evaluation.ray.nodes.probe", for_ray(address)]
    with TemporaryFile() as out, TemporaryFile() as err:
        child = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        try:
            wait_for(child, err, address)
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        lines = out.read().splitlines()
        if child.returncode == 0 and lines:
            return head_of(json.loads(lines[-1]))
        err.seek(0)
        said = err.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise UserError(
            f"what answers at {address} is no head of a Ray cluster that this Ray understands "
            f"({said[-1][:200]}); check the port, and that Ray is the same version there and here"
        )


def wait_for(child: "subprocess.Popen[bytes]", err: IO[bytes], address: str) -> None:
    deadline = monotonic() + ANSWER_LIMIT_S
    while child.poll() is None:
        said = os.pread(err.fileno(), 1 << 16, 0).decode(errors="replace")
        if any(sign in said for sign in REFUSED):
            raise refused(address)
        if monotonic() > deadline:
            raise UserError(
                f"what listens at {address} does not answer as a Ray head (tried for "
                f"{ANSWER_LIMIT_S:g} s); check that the port is the head's, and that Ray is the "
                "same version there and here"
            )
        sleep(POLL_S)
    said = os.pread(err.fileno(), 1 << 16, 0).decode(errors="replace")
    if child.returncode and any(sign in said for sign in REFUSED):
        raise refused(address)


def refused(address: str) -> AccessError:
    return AccessError(
        f"the cluster at {address} refuses the token; set RAY_AUTH_TOKEN_PATH to a copy of the "
        "file that its nodes were started with (or put it at ~/.ray/auth_token)"
    )


def head_of(data: Mapping[str, Any]) -> ClusterHead:
    return ClusterHead(data["versions"], tuple(ClusterNode(**node) for node in data["nodes"]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look_at_head(sys.argv[1])) + "\n")
