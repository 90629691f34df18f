"""Quantizers and coded layers in ONNX, with the operators of the standard alone.

Most coded layers are written as integers: ``ConvInteger`` or ``MatMulInteger`` of the codes, whose
sums are exact, then scale, bias and activation in float32, one operator each. Every kernel of ours
does the same arithmetic, so that the file gives the same numbers.

A convolution of precision w8a8 whose result is only read as codes is written in ONNX's QDQ form
(dequantize, convolve, quantize), which runtimes run as one integer kernel. That form has integer
biases: each is rounded to a multiple of input step times weight scale, so that a sum that lies
within this rounding of the border between two codes gets the other one.

Differs from our kernels in two more ways. ``QuantizeLinear`` divides by the step where they
multiply by its reciprocal, which parts at numbers within a rounding error of a border. Layers of
binary weights on real maps have the scale in their weights.

On x86-64 without VNNI, ONNX Runtime adds pairs of products in 16 bits where signed bytes meet
unsigned ones, which saturate where codes are large; the check of an export finds that on the
machine where it runs. The exact form keeps maps and weights unsigned, which no processor
saturates.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from latency_models.onnx.activations import activate
from latency_models.onnx.bytes import LARGEST_BYTE, WEIGHT_ZERO, Bytes, packed_nibbles
from latency_models.onnx.graph import Coded, OnnxGraph
from latency_models.onnx.operators import put_vector, windows
from latency_models.onnx.parity import ROUNDED_BIASES
from search_spaces.graphs.activations import ACTIVATIONS
from search_spaces.graphs.graph import Node
from search_spaces.graphs.operators import Conv2d, Linear, Quantize
from search_spaces.graphs.precision import W8A8
from search_spaces.quantization.codes import LEAST_STEP, coded_operator, output_scale, weight_codes
from search_spaces.quantization.storage import packed

FLOAT = TensorProto.FLOAT
LARGEST_BIAS = 1 << 30  # of an integer one; as much is left of 32 bits for the sum


def write_quantize(file: OnnxGraph, node: Node, op: Quantize) -> None:
    (name,) = node.inputs
    if name in file.coded and file.coded[name].bytes.quantizer == node.name:
        file.coded[node.name] = file.coded[name]
    elif op.bits == 1:
        file.coded[node.name] = signs(file, node, op)
    else:
        file.coded[node.name] = quantized(file, node.name, file.apart(name), node.name)


def quantized(file: OnnxGraph, prefix: str, value: str, quantizer: str) -> Coded:
    """Adds what turns ``value`` into the codes of a quantizer."""
    coding = file.bytes_of(quantizer)
    codes = file.add("QuantizeLinear", prefix, [value, *file.grid(coding)])
    return Coded(limited(file, prefix, codes, 0, coding.highest), coding, value)


def limited(file: OnnxGraph, prefix: str, codes: str, lowest: int, highest: int) -> str:
    """Adds what keeps bytes within limits, where their type does not."""
    if (lowest, highest) != (0, LARGEST_BYTE):
        limits = [
            file.constant(f"{prefix}/{end}", np.array(byte, np.uint8))
            for end, byte in (("lowest", lowest), ("highest", highest))
        ]
        codes = file.add("Clip", prefix, [codes, *limits])
    return codes


def signs(file: OnnxGraph, node: Node, op: Quantize) -> Coded:
    """Adds what turns a map into +1 where it, normalised, is at least 0, and -1 elsewhere."""
    value = file.map(node.inputs[0])
    if op.norm == "folded":
        value = file.add("Mul", node.name, [value, file.each(node, "gain")])
        value = file.add("Add", node.name, [value, file.each(node, "bias")])
    coding = file.bytes_of(node.name)
    border = file.constant(f"{node.name}/border", np.array(0, np.float32))
    plus = file.constant(f"{node.name}/plus", np.array(coding.highest, np.uint8))
    minus = file.constant(f"{node.name}/minus", np.array(0, np.uint8))
    positive = file.add("GreaterOrEqual", node.name, [value, border])
    return Coded(file.add("Where", node.name, [positive, plus, minus]), coding)


def write_coded_conv2d(file: OnnxGraph, node: Node, op: Conv2d, quantizer: str | None) -> None:
    """Writes a convolution with coded weights.

    Args:
        quantizer: As whose codes alone its result is read, if so.
    """
    if op.precision.activations == "real":
        file.computed[node.name] = "float32"
        inputs = [file.apart(node.inputs[0]), *binary_weights(file, node)]
        value = file.add("Conv", node.name, inputs, **windows(op))
        file.put(node, activate(file, value, node.name, op.activation))
    elif quantizer and (bias := integer_bias(file, node, op, quantizer)) is not None:
        file.computed[node.name] = "int8"
        write_qdq(file, node, op, quantizer, bias)
    else:
        sums = convolved(file, node, op)
        value = scaled(file, node, sums, (-1, 1, 1))
        file.put(node, activate(file, value, node.name, op.activation))


def write_coded_linear(file: OnnxGraph, node: Node, op: Linear) -> None:
    (name,) = node.inputs
    if op.precision.activations == "real":
        file.computed[node.name] = "float32"
        flat = file.add("Flatten", node.name, [file.apart(name)])
        value = file.add("Gemm", node.name, [flat, *binary_weights(file, node)], transB=1)
    else:
        file.computed[node.name] = "int8"
        coded = file.coded[name]
        codes = file.add("Flatten", node.name, [coded.value])
        weight, zero = unsigned_weight(file, node)
        weight = file.add("Transpose", f"{node.name}/weight", [weight], perm=(1, 0))
        zeros = [file.grid(coded.bytes)[1], zero]
        sums = file.add("MatMulInteger", node.name, [codes, weight, *zeros])
        sums = file.add("Cast", node.name, [sums], to=FLOAT)
        value = scaled(file, node, sums, (-1,))
    put_vector(file, node, activate(file, value, node.name, op.activation))


def convolved(file: OnnxGraph, node: Node, op: Conv2d) -> str:
    """Adds the sums of a convolution of codes, and returns them as float32."""
    (name, *_), attributes = node.inputs, windows(op)
    weight, weight_zero = unsigned_weight(file, node)
    if op.is_depthwise(file.model.graph.shapes[name][0]):
        # ConvInteger runs group by group, which on single channels takes longer than float32.
        file.computed[node.name] = "float32"
        coded = file.coded[name]
        codes = centred(file, node.name, coded.value, file.grid(coded.bytes)[1])
        weight = centred(file, f"{node.name}/weight", weight, weight_zero)
        return file.add("Conv", node.name, [codes, weight], **attributes)
    file.computed[node.name] = "int8"
    codes, zero = file.signed(name)
    if op.precision.activation_bits == 1 and any((*op.pads, *op.end_pads)):
        # A border of -1, which is byte 0; that of ConvInteger is zero.
        border = file.constant(f"{node.name}/border", np.array(0, np.int8))
        pads = file.constant(f"{node.name}/pads", (0, 0, *op.pads, 0, 0, *op.end_pads))
        codes = file.add("Pad", node.name, [codes, pads, border])
        attributes["pads"] = (0, 0, 0, 0)
    inputs = [codes, weight, zero, weight_zero]
    sums = file.add("ConvInteger", node.name, inputs, **attributes)
    return file.add("Cast", node.name, [sums], to=FLOAT)


def centred(file: OnnxGraph, prefix: str, codes: str, zero: str) -> str:
    """Adds what turns bytes into the whole numbers that they stand for, as float32."""
    codes, zero = (
        file.add("Cast", f"{prefix}/{name}", [value], to=FLOAT)
        for name, value in (("codes", codes), ("zero", zero))
    )
    return file.add("Sub", prefix, [codes, zero])


def scaled(file: OnnxGraph, node: Node, sums: str, shape: tuple[int, ...]) -> str:
    """Adds the end of a coded layer before its activation: scale, magnitude map, bias."""
    scale = file.constant(f"{node.name}.scale", output_scale(file.model, node).reshape(shape))
    bias = file.constant(
        f"{node.name}.bias", file.model.arrays[f"{node.name}.bias"].reshape(shape)
    )
    value = file.add("Mul", node.name, [sums, scale])
    if len(node.inputs) == 2:
        value = file.add("Mul", f"{node.name}/magnitude", [value, file.map(node.inputs[1])])
    return file.add("Add", node.name, [value, bias])


def unsigned_weight(file: OnnxGraph, node: Node) -> tuple[str, str]:
    """Adds a layer's weights as unsigned bytes, and the byte that is zero; returns their names."""
    bits, name = coded_operator(node).precision.weight_bits, f"{node.name}.weight"
    offset = WEIGHT_ZERO[bits]
    codes, _ = weight_codes(file.model, node)
    shifted = (codes.astype(np.int16) + offset).astype(np.uint8)
    zero = file.constant(f"{node.name}/weight/zero", np.array(offset, np.uint8))
    if bits == 8:
        return file.constant(name, shifted), zero
    if bits == 4:
        nibbles = file.tensor(packed_nibbles(name, shifted))
        return file.add("Cast", f"{node.name}/weight", [nibbles], to=TensorProto.UINT8), zero
    return unpacked_weight(file, node, shifted, bits), zero


def unpacked_weight(file: OnnxGraph, node: Node, shifted: NDArray[np.uint8], bits: int) -> str:
    """Adds weights of 2 or 1 bits, packed into bytes, and what takes them apart.

    Signs are 0 and 1 in the file, and are doubled to lie around 1.
    """
    prefix, rows = f"{node.name}/weight", shifted.reshape(len(shifted), -1)
    double = bits == 1
    bytes_ = file.constant(f"{node.name}.weight", packed(rows >> double, bits))
    # Whole numbers are divided, not shifted: OpenVINO computes BitShift otherwise.
    units = file.constant(f"{prefix}/units", 2 ** np.arange(0, 8, bits, dtype=np.int32))
    codes = file.constant(f"{prefix}/codes", np.array(1 << bits, np.int32))
    value = file.add("Cast", f"{prefix}/packed", [bytes_], to=TensorProto.INT32)
    value = file.add("Unsqueeze", prefix, [value, file.constant(f"{prefix}/last", (2,))])
    value = file.add("Div", prefix, [value, units])
    value = file.add("Mod", prefix, [value, codes])
    if double:
        two = file.constant(f"{prefix}/two", np.array(2, np.int32))
        value = file.add("Mul", f"{prefix}/double", [value, two])
    value = file.add("Cast", f"{prefix}/bytes", [value], to=TensorProto.UINT8)
    value = file.add(
        "Reshape", f"{prefix}/rows", [value, file.constant(f"{prefix}/flat", (len(rows), -1))]
    )
    ends = [
        file.constant(f"{prefix}/{name}", (at,))
        for name, at in (("start", 0), ("stop", rows.shape[1]), ("axis", 1))
    ]
    value = file.add("Slice", prefix, [value, *ends])
    shape = file.constant(f"{prefix}/shape", shifted.shape)
    return file.add("Reshape", prefix, [value, shape])


def binary_weights(file: OnnxGraph, node: Node) -> list[str]:
    """Adds signs times their scale as float32, and the bias; returns their names."""
    weight, zero = unsigned_weight(file, node)
    signs = centred(file, f"{node.name}/weight", weight, zero)
    scale = output_scale(file.model, node)
    shape = (-1, *(1,) * (file.model.arrays[f"{node.name}.weight"].ndim - 1))
    each = file.constant(f"{node.name}.scale", scale.reshape(shape))
    return [
        file.add("Mul", f"{node.name}/weight", [signs, each]),
        file.constant(f"{node.name}.bias", file.model.arrays[f"{node.name}.bias"]),
    ]


def integer_bias(
    file: OnnxGraph, node: Node, op: Conv2d, quantizer: str
) -> NDArray[np.int32] | None:
    """Returns a convolution's biases, as multiples of its scale, where one kernel can run it.

    That is so from 8 bits to 8 bits, for an activation that is no more than limits on the codes,
    and for biases that leave room for the sum and whose rounding moves few codes.
    """
    made = file.bytes_of(quantizer)
    if (
        file.exact
        or op.precision != W8A8
        or ACTIVATIONS[op.activation].curved
        or made.highest != LARGEST_BYTE
    ):
        return None
    unit = np.abs(output_scale(file.model, node).astype(np.float64))
    if unit.min() < LEAST_STEP:
        return None
    exact = file.model.arrays[f"{node.name}.bias"] / unit
    rounded = np.rint(exact)
    # Sums are whole numbers of units, so that this share of them comes to lie across a border.
    moved = float(np.mean(np.abs(rounded - exact) * unit) / made.step)
    if np.abs(rounded).max() > LARGEST_BIAS or moved > ROUNDED_BIASES:
        return None
    file.moved_codes[node.name] = moved
    return rounded.astype(np.int32)


def write_qdq(
    file: OnnxGraph, node: Node, op: Conv2d, quantizer: str, bias: NDArray[np.int32]
) -> None:
    """Writes a convolution of codes to codes, to be run as one kernel of integers."""
    name, coding = node.name, file.bytes_of(quantizer)
    codes, steps = weight_codes(file.model, node)
    gain = file.model.arrays[f"{name}.gain"]
    # Scales are positive: where the norm's factor is negative, the codes change sign.
    turned = codes * np.where(gain < 0, -1, 1).astype(np.int8).reshape(-1, 1, 1, 1)
    scale = np.abs(steps.astype(np.float64) * gain).astype(np.float32)
    weight = [
        file.constant(f"{name}.weight", turned),
        file.constant(f"{name}.weight.scale", scale),
    ]
    units = np.abs(output_scale(file.model, node))
    biases = [file.constant(f"{name}.bias", bias), file.constant(f"{name}.bias.scale", units)]
    inputs = [
        file.map(node.inputs[0]),
        file.add("DequantizeLinear", f"{name}/weight", weight, axis=0),
        file.add("DequantizeLinear", f"{name}/bias", biases, axis=0),
    ]
    value = file.add("Conv", name, inputs, **windows(op))
    value = file.add("QuantizeLinear", name, [value, *file.grid(coding)])
    limits = ACTIVATIONS[op.activation].limits
    assert limits is not None  # `integer_bias` lets no other through
    lowest, highest = (byte(coding, number) for number in limits)
    file.coded[name] = Coded(limited(file, name, value, lowest, highest), coding)


def byte(coding: Bytes, number: float) -> int:
    """Returns the byte of a number."""
    codes = np.rint(np.float32(number) * np.float32(1 / coding.step)) + coding.zero
    return int(np.clip(codes, 0, coding.highest))
