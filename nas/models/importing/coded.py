"""Coded files: held against ONNX Runtime from one quantizer to the next.

A number within a rounding error of the border between two codes gets either, and from there on
maps differ by whole steps: outputs of a right import may differ by more than 1e-4. So each
quantizer is held against the file by itself, its codes may differ on a border alone, and what
follows reads the file's codes. All layers between are real numbers again.
"""

import numpy as np
import torch
from torch import Tensor

from latency_models.onnx.parity import ParityError
from latency_models.onnx.reading.agreement import file_values
from latency_models.onnx.reading.imported import ImportedModel
from nas.nn.interpreter import LayerFunction
from nas.nn.layers import Context
from nas.nn.quantized_layers import quantize
from search_spaces.graphs.model import Array
from search_spaces.graphs.operators import Quantize

BORDER = 1e-2  # how far from a border, as a share of a step, two runtimes may part


def quantizers(imported: ImportedModel) -> dict[str, str]:
    """Returns the quantizers of a model, each with the value of the file that holds its codes."""
    return {
        node.name: imported.values[node.name]
        for node in imported.model.graph.nodes
        if isinstance(node.operator, Quantize) and node.name in imported.values
    }


def given_codes(imported: ImportedModel, x: Array) -> dict[str, LayerFunction]:
    """Returns layers that check quantizers, and give the file's codes for a picture."""
    known = quantizers(imported)
    values = file_values(imported, x, list(known.values()))
    shapes = imported.model.graph.shapes
    layers: dict[str, LayerFunction] = {}
    for (name, value), found in zip(known.items(), values, strict=True):
        flat = np.empty(int(np.prod(shapes[name])), np.float32)
        flat[imported.places[value].reshape(-1)] = found.reshape(-1)
        layers[name] = checking(name, torch.from_numpy(flat.reshape(1, *shapes[name])))
    return layers


def checking(name: str, theirs: Tensor) -> LayerFunction:
    def run(op: Quantize, context: Context, x: Tensor) -> Tensor:
        ours, step = quantize(op, context, x), context.arrays["step"]
        place = x / step
        from_border = (place - place.floor() - 0.5).abs()
        wrong = ((ours - theirs).abs() > step / 2) & (from_border > BORDER)
        wrong |= (ours - theirs).abs() > 1.5 * step
        if bool(wrong.any()):
            raise ParityError(
                f"its quantizer {name} gives other codes than ONNX Runtime for "
                f"{int(wrong.sum())} of {wrong.numel()} numbers; please report the file's "
                "operators there; nothing was imported"
            )
        return theirs

    return run
