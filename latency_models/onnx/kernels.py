"""ONNX kernels: a network cut into small ones that ONNX Runtime can time alone.

ONNX Runtime fuses as it likes and tells no times per kernel. So each kernel that our own compiler
would make is given to it as a network: the node, the quantizer of its input, those of its output.
What a cut costs (changes of layout, quantizing twice, a session's own time) is left to the fit of
whole networks. A second operand is the first one again, or what is cheaply made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from search_spaces.graphs import operators as ops
from search_spaces.graphs.formats import Formats
from search_spaces.graphs.fusion import FusedKernel, fuse
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.quantization.insertion import window_of

PASS_BLOCKS = (
    *(ops.Activate, ops.Add, ops.AvgPool, ops.BatchNorm, ops.Concat),
    *(ops.Dropout, ops.GlobalAvgPool, ops.MaxPool),
)
Adder = Callable[..., str]  # of a node: its name, operator and inputs; gives the name


@dataclass(frozen=True, slots=True)
class OnnxKernel:
    """What ONNX Runtime is given for one kernel.

    Attributes:
        graph: A network of its own; the node called "kernel" is the kernel.
    """

    graph: Graph

    @property
    def operator(self) -> ops.Operator:
        return self.graph.node("kernel").operator


def onnx_kernels(graph: Graph) -> tuple[tuple[str, OnnxKernel], ...]:
    """Returns the kernels of ``graph``, each with its node's name, in an order of running."""
    formats, fused = Formats(graph), {kernel.output: kernel for kernel in fuse(graph)}
    joined = {name for kernel in fused.values() for name in kernel.quantizers}
    taken_in = {name for kernel in fused.values() for name in (kernel.node.name, kernel.norm)}
    made = []
    for node in graph.nodes:
        if node.name in fused:
            kernel = fused[node.name]
            made.append((kernel.node.name, cut(graph, formats, kernel)))
            if kernel.residual is not None:  # the sum is an operator of its own
                made.append((node.name, alone(formats, node)))
        elif isinstance(node.operator, ops.ChannelSplit) or (
            isinstance(node.operator, ops.Quantize) and node.name not in joined
        ):
            made.append((node.name, alone(formats, node)))
        else:
            assert node.name in taken_in | joined or not node.operator.array_shapes(
                *graph.input_shapes(node)
            )
    return tuple(made)


def cut(graph: Graph, formats: Formats, kernel: FusedKernel) -> OnnxKernel:
    """The network of a fused kernel, its residual left out; a norm is part of its layer."""
    node = kernel.node
    quantizers = [graph.node(name).operator for name in kernel.quantizers[:1]]
    operator = node.operator
    if isinstance(operator, ops.Conv2d | ops.Linear):
        operator = replace(operator, activation=kernel.activation)
        operator = replace(operator, bias=True) if kernel.norm is not None else operator
        if isinstance(operator, ops.Linear):  # all weights are read there, zeros or not
            operator = replace(operator, sparsity=None)
        node = replace(node, operator=operator)
    return small_network(formats, node, quantizers)


def alone(formats: Formats, node: Node) -> OnnxKernel:
    return small_network(formats, node, [])


def small_network(formats: Formats, node: Node, after: list[ops.Operator]) -> OnnxKernel:
    """A network of one node, the quantizer before it and those after it."""
    shapes = formats.graph.input_shapes(node)
    first = max(shapes) if isinstance(node.operator, ops.Concat) else shapes[0]
    nodes: list[Node] = []

    def add(name: str, operator: ops.Operator, *inputs: str) -> str:
        known = {INPUT: first} | {made.name: made.shape for made in nodes}
        shape = operator.output_shape(*(known[each] for each in inputs))
        nodes.append(Node(name, operator, inputs, shape))
        return name

    x = INPUT
    native = formats.native[node.inputs[0]]
    if native is not None and not isinstance(node.operator, ops.Quantize):
        x = add("before", formats.quantizer(native), INPUT)
    if isinstance(node.operator, ops.Concat):
        operands = tuple(part(add, x, i, shape, first) for i, shape in enumerate(shapes))
    else:
        operands = (x, *(operand(add, node.operator, x) for _ in shapes[1:]))
    y = add("kernel", node.operator, *operands)
    for index, quantizer in enumerate(after):
        y = add(f"after{index}", quantizer, y)
    return OnnxKernel(Graph(first, tuple(nodes)))


def operand(add: Adder, operator: ops.Operator, x: str) -> str:
    """A second operand, made of the first one."""
    if isinstance(operator, ops.Add):
        return x
    if isinstance(operator, ops.Scale):
        return add("factor", ops.GlobalAvgPool(), x)
    assert isinstance(operator, ops.Conv2d), operator  # the magnitude map
    magnitude = add("magnitude", ops.Magnitude(), INPUT)
    if operator.kernel_size == operator.stride == (1, 1):
        return magnitude
    return add("window", window_of(operator), magnitude)


def part(add: Adder, x: str, index: int, shape: ops.Shape, first: ops.Shape) -> str:
    """A part of a concatenation: the first channels of the widest one."""
    if shape[0] == first[0]:
        return x
    return add(f"part{index}", ops.ChannelSplit(0, shape[0]), x)


def layout_changes(graph: Graph) -> dict[str, str]:
    """Returns, for nodes that ONNX Runtime can run on blocks of channels, what is beside them.

    A real convolution takes and gives blocks of 8 or 16 channels; pooling, sums, concatenations
    and activations pass them on. Where one meets anything else, the map is written anew. A node's
    text tells in which layout its first map comes and whether all that read it take blocks.
    """
    blocked: dict[str, bool] = {INPUT: False}
    for node in graph.nodes:
        operator = node.operator
        makes = isinstance(operator, ops.Conv2d) and operator.precision.activations == "real"
        passes = isinstance(operator, PASS_BLOCKS) and all(blocked[name] for name in node.inputs)
        blocked[node.name] = makes or passes
    changes = {}
    for node in graph.nodes:
        if not isinstance(node.operator, (ops.Conv2d, *PASS_BLOCKS)):
            continue
        before = "blocks" if blocked[node.inputs[0]] else "rows"
        readers = graph.consumers[node.name]
        after = "blocks" if readers and all(blocked[each.name] for each in readers) else "rows"
        if blocked[node.name] or before == "blocks":
            changes[node.name] = f"{before} to {after}"
    return changes
