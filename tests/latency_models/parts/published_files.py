"""The classification networks that come inside the onnx package, with random weights."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# Parameters in millions, as published for ILSVRC's 1000 classes.
SMALL = {
    "squeezenet": 1.24,
    "shufflenet": 1.4,
    "inception_v1": 7.0,
    "densenet121": 8.0,
    "inception_v2": 11.2,
    "resnet50": 25.6,
}
LARGE = {"bvlc_alexnet": 61.0, "zfnet512": 87.3, "vgg19": 143.7}
NETWORKS = SMALL | LARGE


def published(name: str) -> ModelProto:
    """Returns a file as it is: its weights are constants of one value."""
    return onnx.load(LIGHT / f"light_{name}.onnx")


def with_random_weights(proto: ModelProto) -> ModelProto:
    """Returns the file with weights that keep numbers at unit scale in place of its constants."""
    rng = np.random.default_rng(0)
    graph = proto.graph
    shapes = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    readers = {
        name: (node.op_type, index)
        for node in reversed(graph.node)
        for index, name in enumerate(node.input)
    }
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        kind, index = readers[node.output[0]]
        if kind == "Unsqueeze" or (kind == "BatchNormalization" and index in (1, 4)):
            array = rng.uniform(0.5, 1.5, shape)
        else:
            deviation = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
            array = rng.normal(0, deviation, shape)
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return proto
