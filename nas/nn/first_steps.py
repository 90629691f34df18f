"""First steps: those of a network whose weights are known, and whose codes are not."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from nas.nn.initialisation import weight_steps
from nas.nn.interpreter import Interpreter, model_arrays
from search_spaces.graphs.graph import Graph, Node
from search_spaces.graphs.model import Array
from search_spaces.quantization.codes import LEAST_STEP

OF_WEIGHT = ".weight.step"


def with_first_steps(
    graph: Graph, arrays: Mapping[str, Array], unset: Collection[str], images: Tensor
) -> dict[str, Array]:
    """Returns the arrays with the steps called ``unset`` as a training begins with them.

    Those of weights are told by the weights, those of maps by the first images, as batch norm
    sees them in training. Torch's own random state is left as it was.

    Args:
        images: Network inputs ``(B, C, H, W)``.

    Raises:
        NoRangeError: If a map that is to be quantized is all zeros.
    """
    told = dict(arrays)
    for node in graph.nodes:
        if (path := node.name + OF_WEIGHT) in unset:
            told[path] = steps_of(node, told[f"{node.name}.weight"])
    maps = [path for path in unset if not path.endswith(OF_WEIGHT)]
    if not maps:
        return told
    module = Interpreter(graph)
    with torch.no_grad(), torch.random.fork_rng(devices_of(images)):
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(torch.from_numpy(np.array(told[name])))
        for path in told.keys() & {f"{node.name}.step" for node in graph.nodes}:
            module.below(path.removesuffix(".step")).has_step = path not in unset
        module.to(images.device).train()(images)
    known = model_arrays(module)
    return told | {path: known[path] for path in maps}


def steps_of(node: Node, weight: Array) -> Array:
    """Returns the step of each output channel (O,); one of zeros takes the largest."""
    steps = weight_steps(node, torch.from_numpy(np.array(weight)), will_grow=False)
    return torch.where(steps < LEAST_STEP, steps.max(), steps).numpy()


def devices_of(tensor: Tensor) -> list[torch.device]:
    return [tensor.device] if tensor.device.type == "cuda" else []
