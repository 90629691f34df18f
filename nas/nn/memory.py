"""Memory: what is free on this machine, what training a graph takes, and what does not fit.

An allocation beyond the machine's memory often succeeds and the process is killed later, so what
cannot fit is refused before it is tried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.operators import (
    BatchNorm,
    Conv2d,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Quantize,
)
from search_spaces.quantization.codes import is_coded

if TYPE_CHECKING:  # for the annotations: who reads data or configurations needs no torch
    import torch

CGROUP = Path("/sys/fs/cgroup")


class CandidateTooLargeError(UserError):
    """The network does not fit in memory."""


def free_bytes(cgroup: Path = CGROUP) -> int:
    """Returns the bytes of memory this process may still take.

    Args:
        cgroup: Where a container's own limit is stated; without one the machine's counts alone.
    """
    import psutil  # who only reads runs has no need of it

    free = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text("utf-8").strip()
        used = int((cgroup / "memory.current").read_text("utf-8"))
        stat = dict(
            line.split() for line in (cgroup / "memory.stat").read_text("utf-8").splitlines()
        )
    except OSError:
        return free
    if limit == "max":
        return free
    reclaimable = int(stat.get("inactive_file", 0))
    return min(free, int(limit) - used + reclaimable)


def training_bytes(graph: Graph, batch_size: int) -> int:
    """Returns a lower bound of what one training step holds, in bytes of float32.

    It counts weights, gradients and one moment of the optimizer, the numbers that coded weights
    stand for, and of the maps those that the gradients of norms, activations and coded layers
    need.
    """
    num_weights, num_coded, num_elements = 0, 0, 0
    for node in graph.nodes:
        for shape in node.operator.array_shapes(*graph.input_shapes(node)).values():
            num_weights += prod(shape)
            if is_coded(node) and len(shape) > 1:
                num_coded += prod(shape)
        num_elements += maps_kept(graph, node) * prod(node.shape)
    return 4 * (3 * num_weights + num_coded + batch_size * num_elements)


def maps_kept(graph: Graph, node: Node) -> int:
    """Returns how many maps of a node's output shape gradients need."""
    operator = node.operator
    if isinstance(operator, Quantize):
        # For the gradient of the weights that it is multiplied by.
        return any(is_coded(reader) for reader in graph.consumers[node.name])
    if isinstance(operator, Conv2d | Linear | BatchNorm):
        return (getattr(operator, "norm", "none") != "none") + (operator.activation != "none")
    if isinstance(operator, LayerNorm | LocalResponseNorm):
        return 1 if isinstance(operator, LayerNorm) else 3  # mean square, its base and its power
    return 0


def check_memory(graph: Graph, batch_size: int, device: "torch.device") -> None:
    needed = training_bytes(graph, batch_size)
    if device.type == "cpu" and needed > (free := free_bytes()):
        raise CandidateTooLargeError(
            f"training must fit in memory, got at least {needed / 2**30:.1f} GiB for batches of "
            f"{batch_size} with {free / 2**30:.1f} GiB free; lower batch_size or the space's "
            "widths or resolution"
        )


@contextmanager
def refusing_too_large(graph: Graph) -> Iterator[None]:
    """Turns a failed allocation inside into ``CandidateTooLargeError``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        raise CandidateTooLargeError(
            f"training must fit in memory, a network of {len(graph.nodes)} nodes did not "
            f"({one_line(error) if str(error) else 'out of memory'}); lower batch_size or the "
            "space's widths or resolution"
        ) from error


def out_of_memory(error: RuntimeError) -> bool:
    """Returns whether torch failed to allocate; its CPU allocator has no error of its own."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
