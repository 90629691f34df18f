"""Trained networks that come inside packages of others, where these are installed.

pip install --no-deps rapidocr-onnxruntime magika
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

from latency_models.onnx.reading.agreement import check_agreement, run_as_written
from latency_models.onnx.reading.imported import import_onnx
from search_spaces.graphs.errors import UserError


def packaged(package: str, *place: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"needs pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.origin).parent.joinpath(*place)


def test_a_text_direction_classifier_is_read() -> None:
    path = packaged("rapidocr_onnxruntime", "models", "ch_ppocr_mobile_v2.0_cls_infer.onnx")
    found = import_onnx(path, (3, 48, 192))

    check_agreement(found, run_as_written(found.model))
    assert found.model.graph.output.shape == (2, 1, 1)


@pytest.mark.parametrize(
    ("package", "place", "said"),
    [
        ("rapidocr_onnxruntime", ("models", "ch_PP-OCRv4_det_infer.onnx"), "makes pictures"),
        ("magika", ("models", "standard_v3_3", "model.onnx"), "as sequence networks"),
    ],
)
def test_networks_of_other_kinds_are_named_as_such(
    package: str, place: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        import_onnx(packaged(package, *place), (3, 64, 64))
