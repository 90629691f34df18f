"""``nas latency serve``: latency models answer over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.terminal.console import console
from nas.cli.terminal.options import within


def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one.", callback=within(0, 65535))
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            help="What clients must send; better set HWNAS_TOKEN, which nobody sees in a list of "
            "processes."
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File that holds the token.")] = None,
    max_batch: Annotated[
        int, typer.Option(help="Architectures in one request.", callback=within(1))
    ] = 1000,
    max_body_bytes: Annotated[
        int, typer.Option(help="Size of one request.", callback=within(1))
    ] = 16_000_000,
    max_seconds: Annotated[float, typer.Option(help="Time for one request.", min=0.1)] = 10.0,
) -> None:
    """Serve predictions of all profiled devices over HTTP, until Ctrl-C."""
    from latency_models.prediction.model_file import profiled_devices
    from latency_models.transfer.predictions import NO_DEVICE
    from nas.serving.sockets import open_socket, read_token, url_of
    from search_spaces.graphs.errors import UserError

    try:
        from nas.serving.limits import Limits
        from nas.serving.models import ProfiledModels
        from nas.serving.server import serve
        from nas.serving.service import make_app
    except ModuleNotFoundError as error:
        raise UserError(
            f"serving needs {error.name}, which is not installed: pip install '.[serve]' in the "
            "folder of hwnas's sources"
        ) from None
    secret = read_token(token, token_file)
    if not profiled_devices():
        raise UserError(NO_DEVICE)
    models = ProfiledModels()
    for name in models.names():
        try:
            models.get(name)  # now, so that the first client does not wait
        except UserError as error:
            console.print(f"{name} cannot be served: {error}", style="yellow")
    limits = Limits(body_bytes=max_body_bytes, batch=max_batch, seconds=max_seconds)
    app = make_app(models, secret, limits)
    listening = open_socket(host, port, has_token=secret is not None)

    def announce() -> None:
        console.print(
            f"serving {', '.join(models.names())} on {url_of(listening)} (see /docs); stop with "
            "Ctrl-C"
        )

    serve(app, listening, limits, announce)
