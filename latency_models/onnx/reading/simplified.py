"""Simplified: a file after ONNX Runtime has computed all that does not depend on the picture.

Rules that fold norms, or fuse into operators of its own, are left out: a network that is brought
in is trained and slimmed further, and its norms say what each channel is worth.
"""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import numpy_helper, shape_inference

from search_spaces.graphs.errors import UserError, one_line

LEFT_OUT = (
    *("ConvBNFusion", "ConvMulFusion", "ConvAddFusion", "MatMul_BatchNormalization_Fusion"),
    *("Pad_Fusion", "ClipQuantRewrite", "ReluQuantRewrite", "DoubleQDQPairsRemover"),
    *("QDQPropagationTransformer", "QDQS8ToU8Transformer", "QDQFinalCleanupTransformer"),
    *("GemmActivationFusion", "GemmSumFusion", "GemmTransposeFusion", "ConvAddActivationFusion"),
    *("SliceConcatToSpaceToDepthFusion", "DivMulFusion", "QuickGeluFusion", "BiasGeluFusion"),
    *("ConstantSharing", "Avx2WeightS8ToU8Transformer", "EnsureUniqueDQForNodeUnit"),
)
MOST_NUMBERS = 1 << 31  # of one value
MOST_NODES = 20_000


def simplified(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a file of the same output, whose constants are computed.

    Args:
        proto: With an input of fixed shape.

    Raises:
        UserError: If ONNX Runtime does not load it, or a value would not fit memory.
    """
    import onnxruntime

    check_sizes(proto)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    with TemporaryDirectory() as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", "weights"
        )
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
        )
        try:
            with redirect_stdout(StringIO()):  # it prints that it tries again
                onnxruntime.InferenceSession(
                    proto.SerializeToString(),
                    options,
                    providers=["CPUExecutionProvider"],
                    disabled_optimizers=list(LEFT_OUT),
                )
            return onnx.load(path)
        except Exception as error:  # ONNX Runtime has one exception class per status code
            raise UserError(
                f"ONNX Runtime cannot load it: {one_line(error)}; export it again"
            ) from None


def check_sizes(proto: onnx.ModelProto) -> None:
    """Raises UserError if a value is too large, before anything makes room for it."""
    if len(proto.graph.node) > MOST_NODES:
        raise UserError(f"it has {len(proto.graph.node)} nodes, and {MOST_NODES} are read")
    try:
        inferred = shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # of the checker's own classes
        raise UserError(f"its shapes do not fit each other: {one_line(error)}") from None
    for info in inferred.graph.value_info:
        numbers = 1
        for dim in info.type.tensor_type.shape.dim:
            numbers *= max(dim.dim_value, 1)
        if numbers > MOST_NUMBERS:
            raise UserError(
                f"its value {info.name!r} would hold {numbers} numbers; {MOST_NUMBERS} are read"
            )


def of_one_picture(proto: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Returns a file for ``batch`` pictures as one for a picture, its constants computed.

    Exporters write the batch that they were given into the shapes of reshapes. What such a file
    makes of pictures begins with the batch, so that a shape that does too is that of all of them.
    """
    file = simplified(proto)
    graph = file.graph
    known = {each.name: each for each in graph.initializer}
    pictures = {graph.input[0].name}  # values that begin with the batch
    for node in graph.node:
        if node.op_type == "Shape" or pictures.isdisjoint(node.input):
            continue
        pictures.update(node.output)
        if node.op_type != "Reshape" or node.input[1] not in known:
            continue
        shape = numpy_helper.to_array(known[node.input[1]]).copy()
        if shape.size and shape[0] == batch:
            shape[0] = 1
            name = f"{node.input[1]} of one picture"
            if name not in known:
                known[name] = numpy_helper.from_array(shape, name)
                graph.initializer.append(known[name])
            node.input[1] = name
    return file
