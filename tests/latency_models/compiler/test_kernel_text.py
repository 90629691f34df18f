"""Kernels as text: the same kernel comes back, equal text means equal kernels, damage is told."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_models.compiler.kernel_text import RECORDS, from_text, key_of, to_text
from latency_models.compiler.network_kernels import AnyKernel, network_kernels
from latency_models.devices.cpu import AVX2, AVX512, GENERIC, NEON
from search_spaces.graphs.errors import UserError
from search_spaces.space.space import sample
from tests.latency_models.kernels.kernel_strategies import examples
from tests.latency_models.parts.cases import block_graphs, network_graphs, precision_graphs
from tests.search_spaces.quantization.coded import CODED

UNITS = (AVX512, AVX2, NEON, GENERIC)
GOOD = next(iter(network_kernels(block_graphs()["plain-24-s1"], "tvm", AVX512))).kernel
CUT = network_kernels(block_graphs()["plain-24-s1"], "onnxruntime", AVX512)[0].kernel


def kernels_of(seed: int) -> list[AnyKernel]:
    """Distinct kernels of a random network, for TVM and for ONNX Runtime."""
    graph = sample(CODED, Random(seed)).graph
    unit = UNITS[seed % len(UNITS)]
    uses = (*network_kernels(graph, "tvm", unit), *network_kernels(graph, "onnxruntime", unit))
    return list(dict.fromkeys(use.kernel for use in uses))


@examples(15)
@given(st.integers(0, 2**32 - 1))
def test_kernels_of_any_network_come_back_from_text(seed: int) -> None:
    for kernel in kernels_of(seed):
        assert from_text(to_text(kernel)) == kernel


@examples(15)
@given(st.integers(0, 2**32 - 1))
def test_equal_kernels_have_equal_text_and_others_other_keys(seed: int) -> None:
    first, again = kernels_of(seed), kernels_of(seed)

    assert [to_text(kernel) for kernel in first] == [to_text(kernel) for kernel in again]
    assert len({key_of(to_text(kernel)) for kernel in first}) == len(first)


def test_every_kernel_of_every_form_comes_back_from_text() -> None:
    for graph in (precision_graphs() | network_graphs()).values():
        for use in network_kernels(graph, "tvm", AVX2):
            assert from_text(to_text(use.kernel)) == use.kernel


def test_a_change_anywhere_in_a_kernel_is_a_change_of_its_key() -> None:
    data = json.loads(to_text(GOOD))
    keys = {key_of(to_text(GOOD))}
    for change in ({"numbers": [1]}, {"numbers": [1, 2]}, {"numbers": [12]}):
        keys.add(key_of(to_text(from_text(json.dumps(data | change)))))
    assert len(keys) == 4


def test_a_key_is_short_and_always_the_same() -> None:
    assert key_of("a") == "ca978112ca1bbdca"


def test_every_record_can_be_read() -> None:
    assert {"CompiledKernel", "View", "Form", "Epilogue", "BorderKernel"} <= RECORDS.keys()


BAD = {
    "no JSON": "{",
    "empty": "",
    "nothing": "null",
    "a number": "7",
    "a list": "[]",
    "an object": "{}",
    "an unknown record": '{"is":"QuantumKernel"}',
    "a record of no name": '{"is":null,"kernel":1}',
    "a record that is no kernel": '{"is":"Form"}',
    "a kernel of nothing": '{"is":"CompiledKernel"}',
    "a kernel of a number": '{"is":"CompiledKernel","kernel":3}',
    "a kernel of a view": '{"is":"CompiledKernel","kernel":{"is":"Form"}}',
    "an unknown field": '{"is":"Form","bytes":4}',
    "a cut of nothing": '{"is":"OnnxKernel"}',
    "a cut of text": '{"is":"OnnxKernel","graph":"x"}',
    "a cut of a graph without nodes": '{"is":"OnnxKernel","graph":{"input_shape":[1,2,3]}}',
    "a cut of an empty graph": '{"is":"OnnxKernel","graph":{"input_shape":[1,2,3],"nodes":[]}}',
    "a view that cannot be": (
        '{"is":"CompiledKernel","kernel":{"is":"PlaneBorderKernel","target":'
        '{"is":"View","channels":8,"height":1,"width":1,"pixel_stride":1}}}'
    ),
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_kernel_is_one_clear_line(what: str) -> None:
    with pytest.raises(UserError, match="the profile has") as caught:
        from_text(BAD[what])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel", [GOOD, CUT], ids=["compiled", "cut"])
def test_text_that_was_cut_off_is_refused_wherever(kernel: AnyKernel) -> None:
    text = to_text(kernel)
    for length in range(0, len(text), 7):
        with pytest.raises(UserError, match="the profile has"):
            from_text(text[:length])


@pytest.mark.parametrize("kernel", [GOOD, CUT], ids=["compiled", "cut"])
def test_a_field_that_is_missing_is_refused_or_has_its_default(kernel: AnyKernel) -> None:
    for path in paths(json.loads(to_text(kernel))):
        data = json.loads(to_text(kernel))
        place = data
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        try:
            found = from_text(json.dumps(data))
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  (either is right)
        else:
            assert json.loads(to_text(found))["is"] == json.loads(to_text(kernel))["is"], path


def paths(data: object, above: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Every key of nested objects, as the way to it."""
    found: list[tuple[object, ...]] = []
    if isinstance(data, dict):
        for key, value in data.items():
            found += [(*above, key), *paths(value, (*above, key))]
    return found
