"""Ray's privates: whatever of Ray is used here and is not in its documentation.

Each has a function of its own, which says why there is no public way; what each one assumes of
Ray is stated by its test. A new release of Ray needs that test, and then a wider pin.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from latency_models.devices.device import is_loopback, parse_address

HOST = "127.0.0.1"
HOOK = f"{__name__}.keep_at_loopback"  # value of RAY_START_HOOK
MOST_ACTORS = 1_000_000
KEEPS = "hwnas_keeps_actors"  # mark on a controller whose cache was enlarged

log = logging.getLogger("nas.search")


def keep_at_loopback(params: Any, _is_head: bool) -> None:  # noqa: ANN401  (Ray's, not typed)
    """Sets the address of a node that is about to start to loopback; no server of Ray Client.

    Ray listens at loopback alone if, and only if, a node's address is 127.0.0.1, and ``ray
    start`` replaces that address (and "localhost") by the machine's outer one; this hook runs
    after the replacing.
    """
    params.node_ip_address = HOST
    params.ray_client_server_port = None


def for_ray(address: str) -> str:
    """Returns an address as Ray is to be given it.

    Ray replaces a loopback address to connect to as well, but for a spelling that it does not
    recognise.

    >>> for_ray("127.0.0.1:6379"), for_ray("10.0.0.2:6379")
    ('LOCALHOST:6379', '10.0.0.2:6379')
    """
    host, port = parse_address(address)
    return f"LOCALHOST:{port}" if is_loopback(host) else address


def address_found_here() -> str | None:
    """Returns the address of a cluster that runs on this machine, None where there is none.

    Only `ray.init` looks for it otherwise, and that connects at once, without a look at the head.
    """
    from ray._private.services import get_ray_address_from_environment

    try:
        found = get_ray_address_from_environment("auto", None)
    except ConnectionError:
        return None
    return str(found) if found else None


def look_at_head(address: str) -> dict[str, Any]:
    """Returns versions and nodes as the head at ``address`` tells them, as JSON-ready data.

    Ray's public ways to ask are to connect as a driver, which fails at a head of another version
    and on a machine that is none of its nodes, and the dashboard, which need not run.
    """
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.services import find_node_ids

    client = raylet().GcsClient(address=address)
    about = get_cluster_metadata(client) or {}
    here = find_node_ids()
    infos = sorted(client.get_all_node_info().items(), key=lambda item: item[1].start_time_ms)
    nodes = [
        {
            "node_id": key.hex(),
            "name": info.node_name or info.node_manager_address,
            "host": info.node_manager_address,
            "is_alive": info.state == 0,
            "is_head": info.is_head_node,
            "is_here": key.hex() in here,
            "resources": dict(info.resources_total),
        }
        for key, info in infos
    ]
    versions = {"ray": about.get("ray_version", ""), "python": about.get("python_version", "")}
    return {"versions": versions, "nodes": nodes}


def read_variables_again() -> None:
    """Lets Ray see that the variables of its token were changed.

    It reads them once in a process and keeps what it read, whatever cluster is next.
    """
    raylet().Config.initialize("")
    raylet().AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps Ray from the terminal until the block ends; what it prints goes to the search's log.

    It prints what a dying raylet or worker leaves behind, hundreds of lines of it, to the
    terminal of every driver, and no option of its own keeps it from that.
    """
    from ray._private import worker

    loud = worker.print_worker_logs
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    levels = [logger.level for logger in loggers]
    worker.print_worker_logs = note
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        worker.print_worker_logs = loud
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def note(data: Mapping[str, Any], *_: object, **__: object) -> None:
    """Logs the first line of what Ray would print."""
    lines = [line for text in data.get("lines", ()) for line in str(text).splitlines() if line]
    if lines:
        log.info("Ray's %s: %s", data.get("pid", "log"), lines[0][:300])


def keep_actors(tune_controller: Any, resources: Any) -> None:  # noqa: ANN401
    """Lets Tune keep every actor of these resources for the next trial.

    By itself it keeps as many idle actors as trials wait, so of trainings that end at the same
    moment most lose theirs, and starting one anew takes seconds. It has no setting for that.
    """
    if not getattr(tune_controller, KEEPS, False):
        tune_controller._actor_cache.increase_max(resources, by=MOST_ACTORS)
        setattr(tune_controller, KEEPS, True)


def raylet() -> Any:  # noqa: ANN401
    """Returns Ray's compiled module, whose stub names only some of what is in it."""
    return import_module("ray._raylet")
