"""Table: which function reads which ONNX operator, and what to do about those that none reads."""

from collections.abc import Callable, Mapping

from onnx import NodeProto

from latency_models.onnx.drafts.pieces import CurvePiece
from latency_models.onnx.reading import (
    activations,
    codes,
    elementwise,
    matrices,
    moves,
    norms,
    windows,
)
from latency_models.onnx.reading.elementwise import plain
from latency_models.onnx.reading.reader import Reader
from search_spaces.graphs.operators import Activate


def read_softmax(reader: Reader, node: NodeProto) -> None:
    """Reads a softmax at the end, which is left out: it changes no answer."""
    if node.output[0] != reader.last_softmax:
        reader.fails(
            node,
            "stands inside the network (attention, or a soft choice of branches), for which there "
            "is no operator; one at the end alone is left out",
        )
    reader.note(f"{reader.origin(node)} at the end is left out: outputs are logits")
    reader.put(node, reader.view(node))


READERS: Mapping[str, Callable[[Reader, NodeProto], None]] = {
    "Add": elementwise.read_add,
    "AveragePool": windows.read_average_pool,
    "BatchNormalization": norms.read_batch_norm,
    "Cast": moves.read_same,
    "Clip": activations.read_clip,
    "Concat": moves.read_concat,
    "Conv": windows.read_conv,
    "DequantizeLinear": codes.read_dequantize,
    "Div": elementwise.read_divide,
    "Dropout": moves.read_same,
    "Erf": plain(CurvePiece("erf")),
    "Expand": moves.read_expand,
    "Flatten": moves.read_flatten,
    "Gather": moves.read_gather,
    "Gelu": activations.read_gelu,
    "Gemm": matrices.read_gemm,
    "GlobalAveragePool": windows.read_global_pool,
    "GlobalMaxPool": windows.read_global_pool,
    "HardSigmoid": activations.read_hard_sigmoid,
    "HardSwish": plain(Activate("hardswish")),
    "Identity": moves.read_same,
    "LRN": norms.read_lrn,
    "LayerNormalization": norms.read_layer_norm,
    "LeakyRelu": activations.read_leaky_relu,
    "LogSoftmax": read_softmax,
    "MatMul": matrices.read_matmul,
    "Max": activations.read_extreme,
    "MaxPool": windows.read_max_pool,
    "Min": activations.read_extreme,
    "Mul": elementwise.read_multiply,
    "Neg": elementwise.read_negative,
    "PRelu": activations.read_prelu,
    "Pad": moves.read_pad,
    "Pow": elementwise.read_power,
    "QuantizeLinear": codes.read_quantize,
    "Reciprocal": plain(CurvePiece("reciprocal")),
    "ReduceMax": matrices.read_reduce,
    "ReduceMean": matrices.read_reduce,
    "ReduceSum": matrices.read_reduce,
    "Relu": plain(Activate("relu")),
    "Reshape": moves.read_reshape,
    "Sigmoid": activations.read_sigmoid,
    "Slice": moves.read_slice,
    "Softmax": read_softmax,
    "Split": moves.read_split,
    "Sqrt": plain(CurvePiece("sqrt")),
    "Squeeze": moves.read_squeeze,
    "Sub": elementwise.read_subtract,
    "Sum": elementwise.read_sum,
    "Swish": activations.read_swish,
    "Tanh": plain(CurvePiece("tanh")),
    "Transpose": moves.read_transpose,
    "Unsqueeze": moves.read_unsqueeze,
}
# Networks that are no classifiers of pictures, by operators that only they have.
KINDS_OF_NETWORKS: Mapping[str, str] = {
    **dict.fromkeys(
        ("NonMaxSuppression", "RoiAlign", "MaxRoiPool", "GridSample", "TopK"),
        "a detection network",
    ),
    **dict.fromkeys(
        ("LSTM", "GRU", "RNN", "Scan", "Loop", "Attention", "RotaryEmbedding", "STFT", "DFT"),
        "a sequence network",
    ),
    **dict.fromkeys(
        ("Resize", "Upsample", "ConvTranspose", "DepthToSpace", "MaxUnpool"),
        "a network that makes pictures (segmentation, upsampling)",
    ),
    **dict.fromkeys(
        ("TreeEnsembleClassifier", "TreeEnsemble", "SVMClassifier", "LinearClassifier"),
        "no neural network",
    ),
}
STANDARD = ("", "ai.onnx")  # domains
OF_RUNTIME = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
CONTROL = ("If", "Loop", "Scan")  # gone where their condition is a constant
AS_QDQ = "quantize with QuantFormat.QDQ, or import the float32 file and run `nas quantize`"
OPTIMIZED = "import the file as it was before ONNX Runtime optimized it"
# What to do instead, where there is more to say than to train with another operator.
REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm", "QAttention"),
            *("DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
        ),
        AS_QDQ,
    ),
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "TopK"),
        "cut the file in front of it (onnx.utils.extract_model): outputs are logits here",
    ),
    **dict.fromkeys(
        ("InstanceNormalization", "GroupNormalization"), "train with batch norm in its place"
    ),
    **dict.fromkeys(
        ("Tanh", "Elu", "Selu", "Celu", "Mish", "Softplus", "Softsign", "ThresholdedRelu"),
        "train with one of relu, relu6, hardswish, silu, leaky_relu, gelu in its place",
    ),
    **dict.fromkeys(CONTROL, "export the network traced for one input size"),
}
OTHERWISE = "train with an operator of docs/importing.md in its place"


def known_operator(node: NodeProto) -> bool:
    return node.domain in STANDARD and node.op_type in READERS


def is_known_gap(node: NodeProto) -> bool:
    """Whether it is sure that a node cannot be read, whatever becomes of it."""
    if node.domain not in STANDARD:
        return True
    is_left = node.op_type in REMEDIES or node.op_type.startswith("QLinear")
    return is_left and node.op_type not in (*READERS, *CONTROL)


def remedy(node: NodeProto) -> str:
    """Returns what to do instead of a node that cannot be read."""
    if node.op_type.startswith("QLinear"):  # of ONNX, and many more of ONNX Runtime
        return AS_QDQ
    otherwise = OPTIMIZED if node.domain in OF_RUNTIME else OTHERWISE
    return REMEDIES.get(node.op_type, otherwise)
