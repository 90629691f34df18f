"""Torch modules: exported by torch's own exporter, then read as any ONNX file."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import torch
from torch import nn

from nas.models.importing.flow import check_input_shape, import_proto
from search_spaces.graphs.errors import UserError, one_line
from search_spaces.graphs.model import Model

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20  # the first with GELU as one operator


def import_torch(module: nn.Module, input_shape: Sequence[int]) -> Model:
    """Returns a torch module as a model, held against ONNX Runtime's outputs for its export.

    The module is exported in evaluation mode, its batch norms kept as they are, and is left as
    it was.

    Args:
        input_shape: Of one picture, (C, H, W).

    Raises:
        UserError: If torch's exporter is not installed or cannot trace the module, or it has
            operators for which there are none here.
    """
    check_input_shape(input_shape)
    shape = tuple(int(size) for size in input_shape)[-3:]
    return import_proto(exported(module, shape)).model


def exported(module: nn.Module, shape: Sequence[int]) -> "ModelProto":
    """Returns a module as ONNX, for one picture of a shape (C, H, W)."""
    try:
        import onnxscript as _  # noqa: F401
    except ImportError:
        raise UserError(
            "torch's ONNX exporter needs onnxscript: pip install 'hwnas[torch-import]'"
        ) from None
    network = copy.deepcopy(module).to("cpu", torch.float32).eval()
    picture = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))
    try:
        with quiet():
            # Not optimised: that would fold batch norms, which training and slimming need.
            program = torch.onnx.export(
                network, (picture,), dynamo=True, optimize=False, opset_version=OPSET
            )
    except Exception as error:  # of whatever the module's own code raises
        raise UserError(
            f"torch cannot export {type(module).__name__} for an input of {tuple(shape)}: "
            f"{cause(error)}; torch.export.export must take it first"
        ) from None
    assert program is not None
    proto: ModelProto = program.model_proto
    return proto


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the exporter says about its progress and about torchvision to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def cause(error: BaseException) -> str:
    """Returns the first line of what an error came from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
