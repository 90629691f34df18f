"""Interpreter: a graph as a PyTorch module, node by node.

It trains networks, and it is the truth that every other back end is checked against. Parameters
and buffers carry the names of the graph's arrays, so ``state_dict`` and the arrays of a
``Model`` are the same thing.

Shape letters: B batch, C channels, H and W spatial size, O output channels.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from nas.nn.initialisation import initialise
from nas.nn.layers import REAL_LAYERS, Arrays, Context
from nas.nn.quantized_layers import coded_conv2d, coded_linear, quantize
from search_spaces.graphs.errors import UnsupportedOperatorError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Array, Model
from search_spaces.graphs.operators import Conv2d, Linear, Operator, Quantize
from search_spaces.quantization.codes import check_steps, coded_operator, input_quantizer, is_coded

LayerFunction = Callable[..., Tensor]  # of an operator, its context and its input maps

LAYERS: dict[type[Operator], LayerFunction] = REAL_LAYERS | {Quantize: quantize}
CODED_LAYERS: dict[type[Operator], LayerFunction] = {
    Conv2d: coded_conv2d,
    Linear: coded_linear,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One node ready to run.

    Attributes:
        quantizer: Arrays of the quantizer whose integer codes the node reads, if it does.
        last_read: The maps that nobody reads after it.
    """

    node: Node
    layer: LayerFunction
    arrays: Arrays
    quantizer: Arrays | None
    last_read: tuple[str, ...]


class Interpreter(Arrays):
    """Runs the nodes of ``graph`` in order.

    Args:
        generator: Where the first weights come from; None takes torch's own.
        drawn: Whether there are first weights; else arrays hold whatever memory does, until the
            caller fills them.
        layers: What nodes are run by, by name, in place of what their operators are.

    Raises:
        UnsupportedOperatorError: If the graph has an operator that torch training does not run;
            the message names the node.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        norm_momentum: float = 0.1,
        generator: torch.Generator | None = None,
        layers: Mapping[str, LayerFunction] = MappingProxyType({}),
        drawn: bool = True,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.norm_momentum = norm_momentum
        for name, shape in graph.array_shapes().items():
            path, _, array = name.rpartition(".")
            self.below(path).register(array, shape)
        for quantizer in self.quantizers():
            quantizer.has_step = False
        self._steps = self._plan(layers)
        if drawn:
            initialise(graph, self.state_dict(keep_vars=True), generator)

    def quantizers(self) -> list[Arrays]:
        """Returns the arrays of every quantizer that has a step."""
        operators = ((node.name, node.operator) for node in self.graph.nodes)
        return [
            self.below(name) for name, op in operators if isinstance(op, Quantize) and op.bits > 1
        ]

    def _plan(self, layers: Mapping[str, LayerFunction]) -> tuple[Step, ...]:
        last_reader = {name: nodes[-1] for name, nodes in self.graph.consumers.items() if nodes}
        steps = []
        for node in self.graph.nodes:
            has_arrays = node.operator.array_shapes(*self.graph.input_shapes(node))
            holder = self.below(node.name) if has_arrays else self
            done = tuple(name for name in dict.fromkeys(node.inputs) if last_reader[name] is node)
            layer = layers.get(node.name) or layer_of(node)
            steps.append(Step(node, layer, holder, self._quantizer(node), done))
        return tuple(steps)

    def _quantizer(self, node: Node) -> Arrays | None:
        if not is_coded(node) or coded_operator(node).precision.activations != "integer":
            return None
        return self.below(input_quantizer(self.graph, node.inputs[0]).name)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, H, W)`` to the output map; one of size 1x1 comes as ``(B, C)``."""
        return self.run(x)[self.graph.output.name]

    def run(
        self, x: Tensor, *, keep_maps: bool = False, measured: Container[str] = ()
    ) -> dict[str, Tensor]:
        """Returns the maps by node name: all of them, or those that nobody reads.

        A map is let go after its last reader, so memory holds what is still to be read.

        Args:
            measured: Nodes whose batch norms see their own batches in evaluation too.
        """
        maps = {INPUT: x}
        for step in self._steps:
            node = step.node
            training = self.training or node.name in measured
            context = Context(node.name, step.arrays, training, self.norm_momentum, step.quantizer)
            maps[node.name] = step.layer(
                node.operator, context, *(maps[name] for name in node.inputs)
            )
            if not keep_maps:
                for name in step.last_read:
                    del maps[name]
        output = self.graph.output
        if output.shape[1:] == (1, 1):
            maps[output.name] = maps[output.name].flatten(1)
        return maps


def layer_of(node: Node) -> LayerFunction:
    operator = node.operator
    if type(operator) not in LAYERS:
        raise UnsupportedOperatorError(
            f"{node.name}: torch training has no operator {type(operator).__name__}; it has "
            f"{', '.join(kind.__name__ for kind in LAYERS)}"
        )
    return CODED_LAYERS[type(operator)] if is_coded(node) else LAYERS[type(operator)]


def model_arrays(module: Interpreter) -> dict[str, Array]:
    """Returns the module's arrays as float32 numpy copies, by the graph's names."""
    return {
        name: np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")
        for name, tensor in module.state_dict().items()
    }


def load_arrays(module: Interpreter, arrays: Mapping[str, Array]) -> None:
    """Copies ``arrays`` into the module.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape than the graph says.
        UserError: If a step is not a positive number.
    """
    model = Model(module.graph, arrays)  # states the rule about names and shapes
    check_steps(model)
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.copy_(torch.from_numpy(np.array(model.arrays[name], order="C")))
    for quantizer in module.quantizers():
        quantizer.has_step = True


def to_model(module: Interpreter) -> Model:
    """Returns the graph with the module's arrays."""
    return Model(module.graph, model_arrays(module))


def from_model(
    model: Model, layers: Mapping[str, LayerFunction] = MappingProxyType({})
) -> Interpreter:
    """Returns a module in evaluation mode that holds the model's arrays."""
    module = Interpreter(model.graph, layers=layers)
    load_arrays(module, model.arrays)
    return module.eval()
