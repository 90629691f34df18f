"""``nas dashboard``: Optuna's dashboard on a run's study, to look at."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.style import console


def dashboard_command(
    run: Annotated[Path, typer.Argument(help="Run folder, e.g. runs/digits.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the token that is asked for; or set HWNAS_TOKEN."),
    ] = None,
) -> None:
    """Open Optuna's dashboard on a run's study, until Ctrl-C; it only shows."""
    from nas.listening import open_socket, read_token, url_of
    from nas.status import StatusReader
    from search_spaces.errors import UserError

    try:
        from nas.dashboard_server import dashboard_app, serve
    except ModuleNotFoundError as error:
        if error.name not in ("optuna_dashboard", "bottle"):
            raise
        raise UserError(
            f"the dashboard needs {error.name}, which is not installed: "
            "pip install 'hwnas[dashboard]'"
        ) from None
    from nas.dashboard import ReadOnlyStorage

    secret = read_token(None, token_file)
    reader = StatusReader(run)
    if reader.study() is None or reader.storage is None:
        raise UserError(f"{run} has no study yet; start its search first")
    names = [metric.name for metric in reader.config.objectives]
    storage = ReadOnlyStorage(reader.storage, reader.config.name, names)
    app = dashboard_app(storage, secret)
    listening = open_socket(host, port, has_token=secret is not None)
    needs = " (any user name, the token as password)" if secret is not None else ""
    console.print(f"dashboard on {url_of(listening)}{needs}; stop with Ctrl-C", highlight=False)
    serve(app, listening)
