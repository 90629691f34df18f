"""Steps of training by the interpreter against the same network in plain torch modules.

    python -m benchmarks.training.throughput --json docs/results/throughput.json

Both train the same weights on the same batch of 128 random pictures of 32 x 32, one thread,
channels last, by the same optimizer, in turns: forward, loss, backward and update. Before they are
timed, both give the same loss. Beside them the interpreter in bfloat16. ``--cpu-time`` leaves out
what other programs take.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.compression.networks import resnet
from benchmarks.interleaved import interleaved_ms
from benchmarks.report import print_table, write_json
from benchmarks.training.plain_modules import plain_module
from nas.nn.interpreter import Interpreter, load_arrays
from nas.training.trainer import on_device
from search_spaces.graphs.graph import Graph
from search_spaces.graphs.model import Model, random_model
from search_spaces.networks import get_network

BATCH, CLASSES, SIZE = 128, 10, 32
WANTED = 0.97  # of the plain modules' throughput


def published(name: str) -> Callable[[], Graph]:
    return lambda: get_network(name)(resolution=SIZE, num_classes=CLASSES)


NETWORKS: dict[str, Callable[[], Graph]] = {
    "mobilenet_v2": published("mobilenet_v2"),
    "resnet20": lambda: resnet(1.0),
    "shufflenet_v2": published("shufflenet_v2"),
}


def step_of(
    module: nn.Module, x: Tensor, labels: Tensor, half: bool = False
) -> Callable[[], float]:
    """Returns a step of training, which gives its loss.

    Args:
        half: Whether layers run in bfloat16, as autocast has it.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = module(x)
        loss = functional.cross_entropy(outputs.float(), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    return step


def modules(model: Model) -> tuple[nn.Module, nn.Module]:
    """Returns the interpreter and the plain module of a model, both in training."""
    ours = Interpreter(model.graph)
    load_arrays(ours, model.arrays)
    theirs = plain_module(model)
    theirs.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    return on_device(ours, torch.device("cpu")).train(), theirs.train()


def measure(name: str, rounds: int, clock: Callable[[], float]) -> dict[str, object]:
    model = random_model(NETWORKS[name](), np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
    x = x.to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    steps = [step_of(module, x, labels) for module in modules(model)]
    steps.append(step_of(modules(model)[0], x, labels, half=True))
    torch.manual_seed(0)
    first = steps[0]()
    torch.manual_seed(0)  # of dropout
    other = steps[1]()
    (ours, theirs, half), (spread, *_) = interleaved_ms(
        steps, rounds=rounds, round_ms=1.0, clock=clock
    )
    return {
        "network": name,
        "ours_ms": ours,
        "plain_ms": theirs,
        "spread_ms": spread,
        "throughput": theirs / ours,
        "bfloat16_ms": half,
        "bfloat16_throughput": ours / half,
        "met": theirs / ours >= WANTED,
        "loss_difference": abs(first - other),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    clock = thread_time if given.cpu_time else perf_counter
    rows = [measure(name, given.rounds, clock) for name in given.networks]
    print_table("steps of training, batch 128, one thread", rows)
    write_json(given.json, rows, {"clock": "cpu" if given.cpu_time else "wall"})


if __name__ == "__main__":
    main()
