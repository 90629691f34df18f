"""Descriptions: kernels as numbers, for models that learn what kernels take.

Both the row of features and the amounts of work follow from the kernel and the vector unit alone.
"""

from latency_models.kernels.cpu import VectorUnit
from latency_models.kernels.layout import (
    BorderKernel,
)
from latency_models.network_kernels import AnyKernel
from latency_models.onnx_kernels import OnnxKernel
from latency_models.prediction.compiled_work import DESCRIBE, describe_border
from latency_models.prediction.onnx_work import describe_onnx
from latency_models.prediction.work import Description, new_work


def describe(kernel: AnyKernel, unit: VectorUnit) -> Description:
    """Returns a kernel as numbers."""
    if isinstance(kernel, OnnxKernel):
        return describe_onnx(kernel, new_work(unit))
    if isinstance(kernel.kernel, BorderKernel):
        return describe_border(kernel.numbers, new_work(unit))
    return DESCRIBE[type(kernel.kernel)](kernel.kernel, new_work(unit))
