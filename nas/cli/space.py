"""``nas space``: look at a search space."""

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.style import console, metric, table
from nas.numbers import in_words, scaled

if TYPE_CHECKING:
    from search_spaces.staged import StagedSpace

space_app = typer.Typer(help="Look at a search space.", no_args_is_help=True)
ConfigPath = Annotated[Path, typer.Argument(help="Run file (YAML).")]


def read_space(config: Path) -> "StagedSpace":
    from nas.data.sources import make_source
    from nas.run_file import read_run_file
    from nas.setting import space_for

    run = read_run_file(config).config()
    data, _ = make_source(run.data.kind, **run.data.settings).load()
    return space_for(run, data.image_shape[0], data.num_classes)


@space_app.command("show")
def show_space(config: ConfigPath) -> None:
    """Show what a space contains and how large it is."""
    from search_spaces.staged import count_architectures, describe_space

    space = read_space(config)
    console.print(describe_space(space), highlight=False)
    console.print(f"{in_words(count_architectures(space))} architectures")


@space_app.command("sample")
def sample_space(
    config: ConfigPath,
    count: Annotated[int, typer.Option(help="How many.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write each one into this folder as a file.")
    ] = None,
) -> None:
    """Draw random architectures of a space."""
    from search_spaces.architecture import graph_hash, save_architecture
    from search_spaces.cost import network_cost
    from search_spaces.space import describe_genes, sample

    space, rng = read_space(config), Random(seed)
    made = table("hash", ">macs", ">params", "genes")
    for _ in range(count):
        architecture = sample(space, rng)
        cost, key = network_cost(architecture.graph), graph_hash(architecture.graph)
        genes = describe_genes(architecture.genes)
        made.add_row(key, metric("macs", cost.macs), scaled(cost.params), genes)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            save_architecture(architecture, save / f"{key}.json")
    console.print(made)
