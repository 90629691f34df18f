"""The flow of an import: read, held against ONNX Runtime, and what there is to say about it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from latency_models.onnx.parity import LIMIT
from latency_models.onnx.reading.agreement import Agreement, Maps, check_agreement
from latency_models.onnx.reading.imported import ImportedModel, import_onnx
from nas.models.folder import ModelInput, StoredModel
from nas.models.importing.coded import given_codes, quantizers
from nas.nn.interpreter import from_model
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Array, Model

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Import:
    """A network that was brought in.

    Attributes:
        notes: What was left out or is computed otherwise, a line each.
        agreement: How far its outputs are from ONNX Runtime's for the file.
    """

    stored: StoredModel
    notes: tuple[str, ...]
    agreement: Agreement


def import_model(
    path: Path | str,
    input_shape: Sequence[int] | None = None,
    name: str | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> Import:
    """Returns the network in an ONNX file, compared with the file.

    Args:
        input_shape: Of one picture as the file takes it, (C, H, W) or with a batch of one before;
            needed where the file leaves its size open.
        name: What to call it; the file's name by default.
        say: Told what is done now.

    Raises:
        UserError: If the file is no ONNX, damaged, too new or too large, is no classifier of
            pictures, has operators for which there are none here, or computes something else
            once it is read.
    """
    path = Path(path)
    refuse_pickled(path)
    check_input_shape(input_shape)
    say("reading")
    imported = import_onnx(path, input_shape)
    check_classifier(path, imported.model)
    say("comparing with ONNX Runtime")
    try:
        agreement = agreement_of(imported)
    except UserError as error:
        raise type(error)(f"{path}: {error}") from None
    notes = (*imported.notes, *about_norms(imported.model))
    source: dict[str, Any] = {
        "kind": "onnx",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "producer": f"{imported.proto.producer_name} {imported.proto.producer_version}".strip(),
        "input": imported.interface.input,
        "input_layout": imported.interface.layout,
        "output": imported.output,
        "difference": agreement.difference,
        "notes": list(notes),
    }
    stored = StoredModel(name or path.stem, imported.model, ModelInput(), None, source)
    return Import(stored, notes, agreement)


def about_norms(model: Model) -> tuple[str, ...]:
    """Returns what there is to say of a file without batch norms: exporters fold them."""
    if any(name.endswith("norm.weight") for name in model.arrays):
        return ()
    return (
        "the file has no batch norms, which sparse training and pruning by norm_scale need; where "
        "the network has some, its exporter folded them: torch.onnx.export(..., optimize=False) "
        "keeps them, and so does nas.import_torch",
    )


def refuse_pickled(path: Path) -> None:
    """Raises UserError for a file of torch, which is a program that would be run to read it."""
    if path.suffix.lower() in PICKLED:
        raise UserError(
            f"{path} is a pickle of torch, which can run any code while it is read; build the "
            "network yourself, then: import torch, nas; "
            f'module.load_state_dict(torch.load("{path.name}", weights_only=True)); '
            "model = nas.import_torch(module, (3, 224, 224))"
        )


def check_input_shape(shape: Sequence[int] | None) -> None:
    if shape is None:
        return
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[0] != 1) or min(shape) < 1:
        raise UserError(
            "an input shape must be three sizes of one picture, such as 3,224,224 (or with a "
            f"batch of one: 1,3,224,224), got {','.join(map(str, shape))}"
        )


def check_classifier(path: Path, model: Model) -> None:
    shape = model.graph.output.shape
    if shape[1:] != (1, 1):
        raise UserError(
            f"{path}: it gives a map of {shape}, as segmentation networks and trunks without a "
            "head do; networks that give one number a class are imported"
        )


def agreement_of(imported: ImportedModel) -> Agreement:
    """Returns how far a model is from its file, the model run by torch as it will be trained.

    Raises:
        ParityError: If it computes something else.
    """
    plain = from_model(imported.model)
    has_codes = bool(quantizers(imported))

    def run(x: Array) -> Maps:
        module = from_model(imported.model, given_codes(imported, x)) if has_codes else plain
        with torch.no_grad():
            maps = module.run(torch.from_numpy(x), keep_maps=True)
        return {name: tensor.numpy() for name, tensor in maps.items()}

    return check_agreement(imported, run, LIMIT)


def import_proto(
    proto: onnx.ModelProto, input_shape: Sequence[int] | None = None
) -> ImportedModel:
    """Returns the network in an ONNX model, compared with it."""
    from latency_models.onnx.reading.imported import read_model

    imported = read_model(proto, input_shape)
    agreement_of(imported)
    return imported
