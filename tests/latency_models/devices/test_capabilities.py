"""Every CPU says of every precision what computes it, and which ones only save bytes."""

import pytest

from latency_models.codegen.bit_counting import instruction as counting
from latency_models.codegen.dot import instruction
from latency_models.devices.capabilities import Capability, capabilities
from latency_models.devices.cpu import Cpu, host_cpu
from search_spaces.graphs.precision import PRECISIONS

ARM = "aarch64-linux-gnu"
CPUS = {
    "znver4": Cpu("znver4"),
    "icelake-server": Cpu("icelake-server"),
    "cascadelake": Cpu("cascadelake"),
    "skylake-avx512": Cpu("skylake-avx512"),
    "alderlake": Cpu("alderlake"),
    "haswell": Cpu("haswell"),
    "x86-64": Cpu("x86-64"),
    "cortex-a76": Cpu("cortex-a76", ARM),
    "cortex-a72": Cpu("cortex-a72", ARM),
}


def rows(name: str) -> dict[str, Capability]:
    return {row.precision.name: row for row in capabilities(CPUS[name])}


@pytest.mark.parametrize("name", CPUS)
def test_every_precision_has_a_row(name: str) -> None:
    found = rows(name)

    assert list(found) == list(PRECISIONS)
    for row in found.values():
        assert row.speed > 0
        assert row.storage_only == bool(row.reason)
    assert found["fp32"].speed == 1
    assert not found["fp32"].storage_only


def test_the_machine_at_hand_is_known() -> None:
    assert len(capabilities(host_cpu())) == len(PRECISIONS)


@pytest.mark.parametrize(
    ("name", "integers", "ones"),
    [
        ("znver4", "vpdpbusd", "vpopcntd"),
        ("icelake-server", "vpdpbusd", "vpopcntd"),
        ("cascadelake", "vpdpbusd", "vpshufb"),
        ("skylake-avx512", "vpmaddwd", "vpshufb"),
        ("alderlake", "vpdpbusd", "vpshufb"),
        ("haswell", "vpmaddwd", "vpshufb"),
        ("x86-64", "pmaddwd", ""),
        ("cortex-a76", "sdot", "cnt"),
        ("cortex-a72", "smlal", "cnt"),
    ],
)
def test_the_instruction_follows_the_instruction_set(name: str, integers: str, ones: str) -> None:
    found = rows(name)

    assert {found[p].instruction for p in ("w8a8", "w4a8", "w4a4")} == {integers}
    assert {found[p].instruction for p in ("w2a2", "w1a2", "xnor", "xnor_k")} == {ones}
    assert {found[p].instruction for p in ("fp32", "bwn")} == {"fma"}


@pytest.mark.parametrize(
    ("name", "faster"),
    [
        ("znver4", {"w8a8", "w2a2", "w1a2", "xnor", "xnor_k"}),
        ("cascadelake", {"w8a8", "w1a2", "xnor", "xnor_k"}),
        ("alderlake", {"w8a8", "w1a2", "xnor", "xnor_k"}),
        ("haswell", {"w8a8", "w2a2", "w1a2", "xnor", "xnor_k"}),
        ("cortex-a76", {"w8a8", "xnor", "xnor_k"}),
    ],
)
def test_precisions_without_a_faster_kernel_only_save_bytes(name: str, faster: set[str]) -> None:
    found = rows(name)

    assert {n for n, row in found.items() if not row.storage_only} == {"fp32", *faster}


def test_the_reasons_name_what_is_missing() -> None:
    assert rows("cascadelake")["w2a2"].reason == "no faster than w8a8 without vpopcntd"
    assert rows("cortex-a76")["w1a2"].reason == "no faster than w8a8 without a vector popcount"
    assert rows("znver4")["w4a4"].reason == "computed as w8a8"
    assert rows("znver4")["bwn"].reason == "computed in float32"


@pytest.mark.parametrize("name", CPUS)
def test_binary_weights_of_real_maps_and_four_bits_are_storage_only_everywhere(name: str) -> None:
    found = rows(name)

    assert all(found[p].storage_only for p in ("bwn", "w4a8", "w4a4"))
    assert not found["xnor"].storage_only


@pytest.mark.parametrize("name", CPUS)
def test_what_multiplies_codes_is_called_as_its_kernel_calls_it(name: str) -> None:
    assert rows(name)["w8a8"].instruction == instruction(CPUS[name].vector_unit)


@pytest.mark.parametrize("name", CPUS)
def test_what_counts_ones_is_called_as_its_kernel_calls_it(name: str) -> None:
    assert rows(name)["xnor"].instruction == counting(CPUS[name].vector_unit)


@pytest.mark.parametrize("name", CPUS)
def test_more_passes_over_bits_take_longer(name: str) -> None:
    found = rows(name)

    assert found["xnor"].speed > found["w1a2"].speed > found["w2a2"].speed
