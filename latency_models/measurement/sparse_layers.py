"""Sparse layers: which linear layers of a network run faster on the weights that they keep.

A layer whose weights are zero here and there, or share few values, is timed on the device in both
forms, alone; it gets the sparse kernel (``Linear.sparsity``) only where that took less. Alone, its
weights may stay in a cache between two runs, which is to the advantage of the dense kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from latency_models.measurement.measurer import Measurer
from search_spaces.compression.sparsity import sparsity_of
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.graph import INPUT, Graph, Node
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import Linear
from search_spaces.graphs.precision import FP32, Sparsity

FASTER = 0.95  # share of the dense kernel's time that the sparse one must stay below
LEAST_WEIGHTS = 1 << 14  # a layer of fewer takes a microsecond or two
MOST_DENSITY = 0.7  # of weights that share no values: more take as many bytes as all of them


@dataclass(frozen=True, slots=True)
class SparseLayer:
    """A linear layer that may be worth a sparse kernel, and how long it takes in either form.

    Attributes:
        name: Its node.
        dense_ms, sparse_ms: None where it was not timed, as there is nothing to gain.
    """

    name: str
    sparsity: Sparsity
    dense_ms: float | None = None
    sparse_ms: float | None = None

    @property
    def pays(self) -> bool:
        if self.dense_ms is None or self.sparse_ms is None:
            return False
        return self.sparse_ms < FASTER * self.dense_ms

    def __str__(self) -> str:
        values = "" if self.sparsity.bits == 32 else f" in {self.sparsity.bits} bits"
        kept = f"keeps {self.sparsity.density:.1%} of its weights{values}"
        if self.dense_ms is None or self.sparse_ms is None:
            return f"dense, as it {kept}"
        times = f"sparse {self.sparse_ms:.3g} ms, dense {self.dense_ms:.3g} ms"
        return f"{'sparse' if self.pays else 'dense'}: {kept}; {times}"


def with_sparse_layers(model: Model, measurer: Measurer) -> tuple[Model, tuple[SparseLayer, ...]]:
    """Returns ``model`` with sparse kernels where they are faster, and what was found of each.

    Only layers that have zeros, or share values, are told of; weights stay as they are.

    Args:
        model: As deployed (``fold_batch_norm``).
        measurer: Of the device that it is compiled for.

    Raises:
        UserError: If the device's runtime is not TVM, which alone has sparse kernels.
        MeasurementError: As ``Measurer.latency``.
    """
    if measurer.runtime != "tvm":
        raise UserError(f"sparse kernels are TVM's, got a measurer of {measurer.runtime}")
    layers = [
        (node, sparsity_of(model.arrays[f"{node.name}.weight"]))
        for node in model.graph.nodes
        if isinstance(node.operator, Linear) and node.operator.precision == FP32
    ]
    found = tuple(
        timed_layer(model, node, sparsity, measurer)
        for node, sparsity in layers
        if sparsity.density < 1 or (sparsity.bits < 32 and is_large(model, node))
    )
    chosen = {layer.name: layer.sparsity for layer in found if layer.pays}
    return Model(with_sparsity(model.graph, chosen), model.arrays), found


def with_sparsity(graph: Graph, chosen: Mapping[str, Sparsity]) -> Graph:
    """Returns ``graph``, its linear layers sparse where ``chosen`` has their names."""
    nodes = tuple(
        replace(node, operator=replace(node.operator, sparsity=chosen.get(node.name)))
        if isinstance(node.operator, Linear)
        else node
        for node in graph.nodes
    )
    return Graph(graph.input_shape, nodes)


def is_large(model: Model, node: Node) -> bool:
    """Whether a layer has more weights than it has values by chance, and takes time at all."""
    return model.arrays[f"{node.name}.weight"].size >= LEAST_WEIGHTS


def timed_layer(model: Model, node: Node, sparsity: Sparsity, measurer: Measurer) -> SparseLayer:
    """Returns what a layer takes in either form, where one could be faster."""
    keeps_most = sparsity.bits == 32 and sparsity.density > MOST_DENSITY
    if keeps_most or not is_large(model, node):
        return SparseLayer(node.name, sparsity)
    alone = layer_alone(model, node)
    dense, sparse = (
        layer_ms(Model(with_sparsity(alone.graph, chosen), alone.arrays), node.name, measurer)
        for chosen in ({}, {node.name: sparsity})
    )
    return SparseLayer(node.name, sparsity, dense, sparse)


def layer_alone(model: Model, node: Node) -> Model:
    """Returns the network of one layer of ``model``."""
    shape = model.graph.input_shapes(node)[0]
    graph = Graph(shape, (Node(node.name, node.operator, (INPUT,), node.shape),))
    return Model(graph, {name: model.arrays[name] for name in graph.array_shapes()})


def layer_ms(model: Model, name: str, measurer: Measurer) -> float:
    """Returns how long the kernels of a node take."""
    times = measurer.kernel_latencies(model, [name])
    return sum(time.median_ms for time in times if time.name == name)
