"""Loopback: keeps a local cluster where no other machine can reach it.

Ray listens at loopback alone if, and only if, a node's address is 127.0.0.1, and it replaces that
address (and "localhost") by the machine's outer one wherever it is given: as a node's address,
and as the address to connect to. So ``ray start`` is given the hook below, which runs after the
replacing, and addresses go to Ray in a spelling that it does not recognise.
"""

from typing import Any

from latency_models.devices.device import is_loopback, parse_address

HOST = "127.0.0.1"
HOOK = "nas.evaluation.ray.nodes.loopback.keep"  # value of RAY_START_HOOK


def keep(params: Any, _is_head: bool) -> None:  # noqa: ANN401  (Ray's own, not typed)
    """Sets the address of a node that is about to start to loopback; no server of Ray Client."""
    params.node_ip_address = HOST
    params.ray_client_server_port = None


def for_ray(address: str) -> str:
    """Returns an address as Ray is to be given it.

    >>> for_ray("127.0.0.1:6379"), for_ray("10.0.0.2:6379")
    ('LOCALHOST:6379', '10.0.0.2:6379')
    """
    host, port = parse_address(address)
    return f"LOCALHOST:{port}" if is_loopback(host) else address
