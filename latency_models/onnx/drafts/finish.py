"""Finish: a draft as a model: its last pieces become operators, its nodes get their names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from latency_models.onnx.drafts.draft import Draft, DraftNode, Origin, UnreadableError
from latency_models.onnx.drafts.folding import fold, padded, take_over
from latency_models.onnx.drafts.layer_norms import find_layer_norms
from latency_models.onnx.drafts.pieces import (
    Affine,
    Border,
    ChannelMean,
    CurvePiece,
    NormPiece,
    PerPixel,
    Power,
    Product,
)
from latency_models.onnx.drafts.spelled_out import find_activations
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs import operators as ops
from search_spaces.graphs.errors import MistakesError, UserError
from search_spaces.graphs.graph import INPUT, Node
from search_spaces.graphs.model import Array, Model

TAKES_ACTIVATION = (ops.Conv2d, ops.Linear, ops.Add, ops.Concat, ops.BatchNorm)
# Parts of names that arrays of a node, or nodes that are added to a graph, have.
TAKEN = re.compile(r"(weight|bias|norm|step|gain|mean|variance|scale|magnitude|window|input|q\d+)")
LONGEST_NAME = 80
NO_ACTIVATION = (
    "is no part of an activation or norm that is known here; train with another activation"
)
NO_OPERATOR: Mapping[type, str] = {
    Product: (
        "multiplies two maps number by number, for which there is no operator; a map is scaled by "
        "one number per channel (squeeze and excitation)"
    ),
    CurvePiece: NO_ACTIVATION,
    Power: NO_ACTIVATION,
    PerPixel: (
        "adds or multiplies by one number per pixel, which nothing here does outside of a norm "
        "over channels; a map is scaled by one number per channel (squeeze and excitation)"
    ),
    ChannelMean: "takes the mean over channels outside of a norm, for which there is no operator",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """A model that was read.

    Attributes:
        values: For its nodes, the ONNX values whose numbers their maps hold.
    """

    model: Model
    values: Mapping[str, str]


def finished(draft: Draft) -> Finished:
    """Returns the model of a draft.

    Raises:
        UserError: If it has pieces that are no operators, or weights that are no numbers.
    """
    draft.tidy()
    find_layer_norms(draft)
    find_activations(draft)
    fold(draft)
    settle(draft)
    drop_zero_biases(draft)
    fuse_activations(draft)
    check_numbers(draft)
    if not draft.nodes:
        raise UserError("its output is its input: there is nothing to import")
    names = node_names(draft)
    net = GraphBuilder(draft.input_shape)
    nodes: dict[str, Node] = {INPUT: net.input}
    arrays: dict[str, Array] = {}
    for node in draft.nodes.values():
        name = names[node.name]
        try:
            nodes[node.name] = net.add(name, node.operator, *(nodes[each] for each in node.inputs))
        except ValueError as error:
            raise UserError(f"{node.origin}: {error}") from None
        arrays |= {f"{name}.{part}": array for part, array in node.arrays.items()}
    values = {names[node.name]: node.origin.value for node in draft.nodes.values()}
    model = Model(net.graph(), arrays)
    return Finished(model, {name: value for name, value in values.items() if value})


def settle(draft: Draft) -> None:
    """Makes the pieces that are left operators.

    Raises:
        MistakesError: If there is none for some of them.
    """
    wrong = []
    for node in list(draft.nodes.values()):
        does = node.operator
        if isinstance(does, NormPiece):
            draft.put(node, operator=ops.BatchNorm("batch", "none"))
        elif isinstance(does, Affine):
            arrays = {"gain": node.arrays["gain"], "bias": node.arrays["term"]}
            draft.put(node, operator=ops.BatchNorm("folded", "none"), arrays=arrays)
        elif isinstance(does, Border):
            put_border(draft, node, does)
        elif type(does) in NO_OPERATOR:
            wrong.append(f"{node.origin} {NO_OPERATOR[type(does)]}")
    if wrong:
        raise MistakesError(*wrong) if len(wrong) > 1 else UnreadableError(wrong[0])


def drop_zero_biases(draft: Draft) -> None:
    """Leaves out biases that are nothing: exporters add them to convolutions without one."""
    for node in draft.nodes.values():
        does = node.operator
        has_bias = isinstance(does, ops.Conv2d | ops.Linear) and does.bias
        if has_bias and not node.arrays["bias"].any():
            arrays = {name: array for name, array in node.arrays.items() if name != "bias"}
            draft.put(node, operator=replace(does, bias=False), arrays=arrays)


def put_border(draft: Draft, node: DraftNode, border: Border) -> None:
    """Makes zeros around a map those of a depthwise convolution of ones."""
    channels = node.shape[0]
    begin, end = (border.top, border.left), (border.bottom, border.right)
    operator = ops.Conv2d(
        channels,
        **padded(begin, end),
        groups=channels,
        norm="none",
        activation="none",
    )
    draft.put(node, operator=operator, arrays={"weight": np.ones((channels, 1, 1, 1), np.float32)})


def fuse_activations(draft: Draft) -> None:
    """Makes an activation that of the node before it, where nobody else reads that."""
    readers = draft.readers()
    for node in list(draft.nodes.values()):
        maker = draft.nodes.get(node.inputs[0])
        if not isinstance(node.operator, ops.Activate) or maker is None:
            continue
        alone = readers[maker.name] == [node] and maker.name != draft.output
        takes = isinstance(maker.operator, TAKES_ACTIVATION)
        if alone and takes and maker.operator.activation == "none":
            operator = replace(maker.operator, activation=node.operator.activation)
            take_over(draft, node, maker, operator, maker.arrays)
    draft.tidy()


def check_numbers(draft: Draft) -> None:
    """Raises UserError if a weight is NaN or infinite."""
    for node in draft.nodes.values():
        for name, array in node.arrays.items():
            if not np.isfinite(array).all():
                bad = array[~np.isfinite(array)].reshape(-1)
                raise UserError(
                    f"{node.origin}: {len(bad)} of {array.size} numbers of its {name} are "
                    f"{bad[0]}, and weights must be finite; the file is of a training that "
                    "diverged, or was damaged"
                )


# Names


def node_names(draft: Draft) -> dict[str, str]:
    """Returns a name for each node: the file's, of printable parts between dots, each once."""
    names: dict[str, str] = {}
    used: set[str] = set()
    for node in draft.nodes.values():
        name = plain_name(node.origin)
        count = 2
        unique = name
        while unique in used:
            unique, count = f"{name}_{count}", count + 1
        used.add(unique)
        names[node.name] = unique
    return names


def plain_name(origin: Origin) -> str:
    """Returns what a node is called in a model.

    >>> plain_name(Origin("", "Conv", "", "/layer1/layer1.0/conv1/Conv"))
    'layer1.layer1.0.conv1.Conv'
    """
    letters = "".join(
        each if each.isprintable() and not each.isspace() else "_" for each in origin.name
    )
    parts = [part for part in re.split(r"[./:\\]+", letters) if part]
    parts = [f"{part}_" if TAKEN.fullmatch(part) else part for part in parts]
    name = ".".join(parts)[-LONGEST_NAME:].strip(".")
    return name or origin.kind.lower()
