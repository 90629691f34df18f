"""The same network pruned by torch-pruning: what ours is compared with at equal MACs.

    pip install torch-pruning

A model becomes a module of torch's own layers, which torch-pruning traces and cuts; the widths
that it leaves become a graph again, so that both results are trained on, timed and counted by the
same code. Networks are those without splits and shuffles: convolutions, norms, pools, sums,
concatenations, gates and linear layers.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from nas.nn.activations import TORCH_ACTIVATIONS
from nas.nn.layers import REAL_LAYERS, Context
from search_spaces.compression.channels import channel_groups
from search_spaces.compression.importance import importance
from search_spaces.compression.removal import remove_channels
from search_spaces.compression.selection import Rules, select
from search_spaces.graphs.cost import count_macs
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import NORM_EPSILON, Array, Model
from search_spaces.graphs.operators import Conv2d, Linear

NORM = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
TRIES = 24  # halvings of the ratio until its MACs are as near as widths let them be


class TorchModule(nn.Module):
    """A model in torch's own layers, by the names of its nodes with other separators."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.graph = model.graph
        self.layers = nn.ModuleDict()
        for node in model.graph.nodes:
            for name, layer in torch_layers(model, node).items():
                self.layers[name] = layer

    def forward(self, x: Tensor) -> Tensor:
        maps = {INPUT: x}
        for node in self.graph.nodes:
            maps[node.name] = self.computed(node, [maps[name] for name in node.inputs])
        return maps[self.graph.output.name].flatten(1)

    def computed(self, node: Node, inputs: list[Tensor]) -> Tensor:
        operator, name = node.operator, module_name(node.name)
        if not isinstance(operator, Conv2d | Linear):
            # Layers without arrays look at their operator only.
            return REAL_LAYERS[type(operator)](operator, context(node.name), *inputs)
        x = inputs[0].flatten(1) if isinstance(operator, Linear) else inputs[0]
        x = self.layers[name](x)
        if operator.norm == "batch":
            x = self.layers[f"{name}_norm"](x)
        x = TORCH_ACTIVATIONS[operator.activation].of(x)
        return x[:, :, None, None] if isinstance(operator, Linear) else x


def context(name: str) -> Context:
    return Context(name, nn.Module(), False, 0.1)  # type: ignore[arg-type]


def module_name(name: str) -> str:
    """Returns a node's name as torch takes it for a module."""
    return name.replace(".", "/")


def torch_layers(model: Model, node: Node) -> dict[str, nn.Module]:
    """Returns the layers of a node with weights, its norm among them, by name."""
    operator, name = node.operator, module_name(node.name)
    inputs = model.graph.input_shapes(node)[0]
    if isinstance(operator, Linear):
        made: nn.Module = nn.Linear(int(np.prod(inputs)), operator.out_features, operator.bias)
    elif isinstance(operator, Conv2d):
        assert operator.end_padding is None, node.name
        made = nn.Conv2d(
            *(inputs[0], operator.out_channels, operator.kernel_size, operator.stride),
            *(operator.pads, operator.dilation, operator.groups, operator.bias),
        )
    else:
        return {}
    layers = {name: made}
    if operator.norm == "batch":
        layers[f"{name}_norm"] = nn.BatchNorm2d(node.shape[0], NORM_EPSILON)
    with torch.no_grad():
        for array, tensor in tensors(layers, name).items():
            tensor.copy_(torch.from_numpy(model.arrays[f"{node.name}.{array}"]))
    return layers


def tensors(layers: dict[str, nn.Module], name: str) -> dict[str, Tensor]:
    """Returns the tensors of a layer by the names of our arrays."""
    found: dict[str, Tensor] = dict(layers[name].named_parameters())
    if norm := layers.get(f"{name}_norm"):
        found |= {f"norm.{ours}": getattr(norm, theirs) for ours, theirs in NORM.items()}
    return found


def from_torch(module: TorchModule) -> Model:
    """Returns the model that a module has become, by the widths of its layers."""
    nodes: list[Node] = []
    shapes = {INPUT: module.graph.input_shape}
    arrays: dict[str, Array] = {}
    for node in module.graph.nodes:
        operator, name = node.operator, module_name(node.name)
        if isinstance(operator, Linear):
            layer = module.layers[name]
            assert isinstance(layer, nn.Linear)
            operator = replace(operator, out_features=layer.out_features)
        elif isinstance(operator, Conv2d):
            layer = module.layers[name]
            assert isinstance(layer, nn.Conv2d)
            operator = replace(operator, out_channels=layer.out_channels, groups=layer.groups)
        shapes[node.name] = operator.output_shape(*(shapes[each] for each in node.inputs))
        nodes.append(Node(node.name, operator, node.inputs, shapes[node.name]))
        if isinstance(operator, Conv2d | Linear):
            for array, tensor in tensors(dict(module.layers.items()), name).items():
                arrays[f"{node.name}.{array}"] = tensor.detach().numpy().copy()
    return Model(Graph(module.graph.input_shape, tuple(nodes)), arrays)


def pruned_by_peer(model: Model, ratio: float, criterion: str, multiple: int) -> Model:
    """Returns what torch-pruning makes of a model at a ratio of its channels, globally ranked."""
    import torch_pruning

    scores = {
        "norm_scale": torch_pruning.importance.BNScaleImportance,
        "l1": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=1),
        "l2": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=2),
    }
    module = TorchModule(model).eval()
    pruner = torch_pruning.pruner.BasePruner(
        module,
        torch.zeros(1, *model.graph.input_shape),
        importance=scores[criterion](),
        global_pruning=True,
        pruning_ratio=ratio,
        max_pruning_ratio=0.9,  # as our floor of 0.1
        round_to=multiple if multiple > 1 else None,
        ignored_layers=[module.layers[module_name(model.graph.output.name)]],
    )
    pruner.step()
    return from_torch(module)


def at_equal_macs(prune: Callable[[float], Model], macs: float) -> Model:
    """Returns the largest network of those that ``prune`` makes by ratio with at most ``macs``."""
    low, high = 0.0, 0.9
    best = prune(high)
    for _ in range(TRIES):
        middle = (low + high) / 2
        made = prune(middle)
        if count_macs(made.graph) <= macs:
            best, high = made, middle
        else:
            low = middle
    return best


def pruned_by_both(
    model: Model, share: float, criterion: str = "norm_scale", multiple: int = 1
) -> tuple[Model, Model]:
    """Returns our network and that of torch-pruning with ``share`` of a model's MACs.

    Theirs is the largest with at most that many; ours has at most as many as theirs.
    """
    wanted = share * count_macs(model.graph)
    theirs = at_equal_macs(lambda r: pruned_by_peer(model, r, criterion, multiple), wanted)
    groups = channel_groups(model.graph)
    scores = importance(model, groups, criterion)
    ratio = 1 - count_macs(theirs.graph) / count_macs(model.graph)
    chosen = select(model.graph, scores, ratio, "macs", Rules(multiple=multiple))
    return remove_channels(model, chosen.gone), theirs
