"""Spaces: random blocks, settings and precisions; what is accepted makes networks that plan."""

from pathlib import Path
from random import Random
from typing import Any

from latency_models.compiler.plan import plan_kernels
from latency_models.devices.cpu import AVX2, AVX512, NEON
from nas.problem.space_file import SpaceFile, staged_space
from search_spaces.blocks import BLOCKS
from search_spaces.graphs.cost import network_cost
from search_spaces.graphs.errors import UnsupportedOperatorError, UserError
from search_spaces.graphs.precision import PRECISIONS
from search_spaces.space.space import sample
from tests.fuzz.runner import Kind

SIZES = (1, 2, 3, 4, 5, 7, 8, 14, 16, 24, 31, 32, 33, 48, 64)


def kind(folder: Path) -> Kind:
    def attempt(rng: Random) -> None:
        space = staged_space("random", SpaceFile.model_validate(drawn(rng)))
        try:
            for _ in range(3):
                graph = sample(space, rng).graph
                network_cost(graph)
                plan(graph, rng)
        except UserError as error:
            raise AssertionError(f"it was accepted, and then: {error}") from error

    return Kind("spaces", attempt)


def plan(graph: Any, rng: Random) -> None:  # noqa: ANN401
    try:
        plan_kernels(graph, rng.choice((AVX2, AVX512, NEON)))
    except UnsupportedOperatorError:
        return


def drawn(rng: Random) -> dict[str, Any]:
    def some(values: tuple[Any, ...], most: int = 2) -> list[Any]:
        return rng.sample(values, rng.randint(1, min(most, len(values))))

    def block(name: str) -> str | dict[str, Any]:
        choices = BLOCKS[name].choices
        if not choices or rng.random() < 0.5:
            return name
        choice = rng.choice(choices)
        of_sizes = isinstance(choice.values[0], int)
        return {name: {choice.name: some((1, 2, 3, 4, 5, 7, 8) if of_sizes else choice.values)}}

    def stage() -> dict[str, Any]:
        return {
            "depth": some((1, 2, 3, 5)),
            "width": some(SIZES),
            "stride": some((1, 2, 3)),
            "blocks": [block(name) for name in some(tuple(BLOCKS), 3)],
            "precision": some(tuple(PRECISIONS)),
            "prune_ratio": some((0.0, 0.25, 0.5, 0.9)),
        }

    return {
        "resolution": some((1, 4, 8, 9, 16, 31)),
        "stem": {"width": some(SIZES), "kernel_size": some((1, 2, 3, 4, 5, 7)), "stride": [1]},
        "stages": [stage() for _ in range(rng.randint(1, 3))],
        "head": {"width": some((0, 8, 33)), "precision": some(tuple(PRECISIONS))},
        "round_to": rng.choice((1, 4, 8, 32)),
    }
