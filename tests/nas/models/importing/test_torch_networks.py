"""Networks in plain torch: each is read from its export and computes what torch computes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from latency_models.compiler.library import compile_model
from latency_models.devices.cpu import host_cpu
from nas.models.importing.flow import import_model, import_proto
from nas.models.importing.torch_module import import_torch
from nas.nn.interpreter import from_model
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model
from search_spaces.graphs.operators import BatchNorm, Conv2d
from tests.nas.parts.torch_networks import NETWORKS, resnet, traced, trained_like

SHAPE = (3, 32, 32)


def outputs(model: Model, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return from_model(model)(x).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_torch_computes_the_same_once_it_is_imported(name: str) -> None:
    network = trained_like(NETWORKS[name])
    assert isinstance(network, nn.Sequential)
    expected = network[:-1] if isinstance(network[-1], nn.Softmax) else network
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))

    model = import_proto(traced(network, SHAPE)).model

    with torch.no_grad():
        wanted = expected(x).numpy()
    assert np.abs(outputs(model, x) - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", NETWORKS)
def test_an_imported_network_runs_on_our_kernels(name: str) -> None:
    model = import_proto(traced(trained_like(NETWORKS[name]), SHAPE)).model
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))

    found = compile_model(model, host_cpu()).run(x.numpy())

    wanted = outputs(model, x)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("name", "opset"), [("ResNet", 11), ("ResNet", 13), ("ResNet", 20), ("ConvNeXt", 13)]
)
def test_older_and_newer_exports_give_the_same_graph(name: str, opset: int) -> None:
    network = trained_like(NETWORKS[name])

    old, new = (import_proto(traced(network, SHAPE, version)).model for version in (17, opset))

    assert [node.operator for node in old.graph.nodes] == [
        node.operator for node in new.graph.nodes
    ]


@pytest.mark.slow
def test_a_module_goes_through_torchs_own_exporter_and_keeps_its_norms() -> None:
    pytest.importorskip("onnxscript", reason="torch's exporter needs onnxscript")
    network = trained_like(resnet).train()

    model = import_torch(network, SHAPE)

    assert network.training
    kinds = [node.operator for node in model.graph.nodes]
    norms = [
        each for each in kinds if isinstance(each, Conv2d | BatchNorm) and each.norm == "batch"
    ]
    assert len(norms) == 6
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = network.eval()(x).numpy()
    assert np.abs(outputs(model, x) - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert "0.0" in {node.name for node in model.graph.nodes}  # the module's own path


def test_a_free_batch_and_size_are_fixed_for_reading_alone(tmp_path: Path) -> None:
    proto = traced(trained_like(resnet), SHAPE)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    for axis, free in ((0, "batch"), (2, "height"), (3, "width")):
        dims[axis].dim_param = free
    onnx.save(proto, tmp_path / "free.onnx")

    with pytest.raises(UserError, match="say it"):
        import_model(tmp_path / "free.onnx")
    found = import_model(tmp_path / "free.onnx", (3, 40, 48))

    assert found.stored.input_shape == (3, 40, 48)
    assert outputs(found.stored.model, torch.zeros(5, 3, 40, 48)).shape == (5, 10)
