"""Server: the service on a socket, until it is told to stop."""

import gc
import socket

import uvicorn
from fastapi import FastAPI

from nas.serving.sockets import stopping


def serve(app: FastAPI, listening: socket.socket, grace_s: float) -> None:
    """Answers until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        grace_s: How long a request in flight may still take.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace_s) + 1,
        ws="none",
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    # Predictions make thousands of small records and no cycles: searching for cycles after every
    # few hundred would take a third of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    with stopping(stop):
        server.run(sockets=[listening])
