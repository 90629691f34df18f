"""Compiled files: one that cannot run on this machine is refused in a line that says why."""

import json
import platform
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_models.boards.library_file import (
    FORMAT,
    SEAL,
    Metadata,
    check_runs_here,
    linker_options,
    parse_metadata,
)
from latency_models.compiler.library import (
    CompiledModel,
    compile_model,
    load_compiled,
)
from latency_models.devices.cpu import Cpu, host_cpu, host_features
from search_spaces.building.builder import GraphBuilder
from search_spaces.graphs.errors import UserError
from search_spaces.graphs.model import Model, random_model
from search_spaces.graphs.operators import Conv2d

ARM = Cpu("cortex-a76", "aarch64-linux-gnu")
MACHINE_AT = 18  # where a Linux library's header tells its architecture
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="compares x86 processors")
links_arm = pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-gcc") is None,
    reason="aarch64-linux-gnu-gcc not found; install gcc-aarch64-linux-gnu",
)


def small_model() -> Model:
    net = GraphBuilder((1, 5, 5))
    net.add("conv", Conv2d(4), net.input)
    return random_model(net.graph(), np.random.default_rng(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "network.so"
    compile_model(small_model(), host_cpu()).save(path)
    return path


@pytest.fixture(scope="module")
def for_arm() -> CompiledModel:
    return compile_model(small_model(), ARM)


def changed(path: Path, folder: Path, before: bytes, after: bytes) -> Path:
    """A copy of a file with other bytes in one place, and no seal."""
    data = path.read_bytes()[: -SEAL.size]
    assert data.count(before) == 1
    assert len(before) == len(after)
    copy = folder / path.name
    copy.write_bytes(data.replace(before, after))
    return copy


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            FORMAT + 1,
            rf"has format {FORMAT + 1}, this hwnas reads {FORMAT}; install hwnas .* or",
        ),
        (FORMAT - 1, rf"has format {FORMAT - 1} of hwnas .*, this hwnas reads {FORMAT}; export t"),
    ],
)
def test_a_file_of_another_format_is_refused(
    saved: Path, tmp_path: Path, other: int, message: str
) -> None:
    path = changed(saved, tmp_path, b'"format": %d,' % FORMAT, b'"format": %d,' % other)

    with pytest.raises(UserError, match=message):
        load_compiled(path)


def test_a_newer_record_may_have_other_fields() -> None:
    text = json.dumps({"format": FORMAT + 1, "hwnas_version": "9.0", "colour": "red"})

    with pytest.raises(UserError, match=r"network\.so has format .*install hwnas 9\.0 or newer"):
        parse_metadata(Path("network.so"), text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "2"}, "format must be a whole number, got '2'"),
        ({"features": 3}, "features must be a list, got 3"),
        ({"features": [3]}, r"features\[0\] must be a text, got 3"),
        ({"mcpu": None}, "mcpu must be a text, got None"),
        ({"input_shape": [3]}, "input_shape must be a list of 3"),
        ({"output_shape": [0, 1, 1]}, "shapes must be positive"),
        ({"colour": "red"}, "no field 'colour'"),
    ],
)
def test_a_record_of_other_kinds_is_named(change: dict[str, object], message: str) -> None:
    right = Metadata.of((3, 8, 8), (10, 1, 1), host_cpu())
    row = json.loads(right.to_json())
    assert parse_metadata(Path("network.so"), json.dumps(row)) == right

    with pytest.raises(UserError, match=rf"network\.so is damaged .*{message}") as caught:
        parse_metadata(Path("network.so"), json.dumps(row | change))
    assert "\n" not in str(caught.value)


@on_x86
def test_a_file_for_a_processor_with_more_instructions_is_refused(tmp_path: Path) -> None:
    cpu = richer_cpu()
    model = compile_model(small_model(), cpu)
    model.save(tmp_path / "network.so")

    with pytest.raises(UserError, match=rf"network\.so is for '{cpu.mcpu}' and needs "):
        load_compiled(tmp_path / "network.so")
    with pytest.raises(UserError, match=rf"the model is for '{cpu.mcpu}' and needs "):
        model.run(np.zeros((1, 5, 5), np.float32))


def richer_cpu() -> Cpu:
    """A processor with instructions that this machine does not have."""
    known = map(Cpu, ("sapphirerapids", "znver5", "graniterapids-d", "diamondrapids"))
    return next(cpu for cpu in known if not cpu.features <= host_features())


@on_x86
@pytest.mark.parametrize("hidden", ["amx-avx512", "avx512fp16", "gfni", "popcnt"])
def test_each_missing_instruction_set_is_named(saved: Path, hidden: str) -> None:
    needed = (*load_compiled(saved).metadata.features, f"{hidden}-of-tomorrow")

    with pytest.raises(UserError, match=f"needs {hidden}-of-tomorrow, which this processor does"):
        check_runs_here("x.so", host_cpu(), needed)


@on_x86
def test_older_processors_files_are_taken(tmp_path: Path) -> None:
    compile_model(small_model(), Cpu("x86-64-v2")).save(tmp_path / "network.so")

    assert load_compiled(tmp_path / "network.so").run(np.zeros((1, 5, 5), np.float32)).shape


@on_x86
def test_a_file_of_another_architecture_is_refused_before_it_is_loaded(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    struct.pack_into("<H", data, MACHINE_AT, 183)
    path = saved.with_name("arm.so")
    path.write_bytes(data)

    with pytest.raises(
        UserError, match="compiled for aarch64 processors and this machine's is x8"
    ):
        load_compiled(path)


@links_arm
@on_x86
def test_a_network_is_exported_for_another_architecture(
    for_arm: CompiledModel, tmp_path: Path
) -> None:
    for_arm.save(tmp_path / "network.so")

    assert struct.unpack_from("<H", (tmp_path / "network.so").read_bytes(), MACHINE_AT) == (183,)
    with pytest.raises(UserError, match=r"network\.so was compiled for aarch64 processors"):
        load_compiled(tmp_path / "network.so")


@on_x86
def test_a_network_for_another_architecture_does_not_run_here(for_arm: CompiledModel) -> None:
    with pytest.raises(UserError, match=r"'cortex-a76' \(aarch64-linux-gnu\) and this machine is"):
        for_arm.run(np.zeros((1, 5, 5), np.float32))


@on_x86
def test_code_for_another_architecture_is_not_timed_here() -> None:
    with pytest.raises(UserError, match=r"code to be timed is for 'cortex-a76'"):
        compile_model(small_model(), ARM, tuned=True)


def test_a_missing_linker_is_named(for_arm: CompiledModel) -> None:
    unknown = replace(for_arm.metadata, platform="riscv64-nowhere-gnu")
    with pytest.raises(UserError, match="is linked by riscv64-nowhere-gnu-gcc, which is not inst"):
        linker_options(unknown.cpu)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(saved: Path, tmp_path: Path, kept: float) -> None:
    data = saved.read_bytes()
    (tmp_path / "network.so").write_bytes(data[: int(kept * len(data))])

    with pytest.raises(UserError, match=r"network\.so is cut off: it has \d+ bytes of \d+"):
        load_compiled(tmp_path / "network.so")


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9, 1.0])
def test_a_file_with_one_other_bit_is_refused_before_it_is_loaded(
    saved: Path, tmp_path: Path, at: float
) -> None:
    data = bytearray(saved.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    (tmp_path / "network.so").write_bytes(data)

    with pytest.raises(UserError, match=r"network\.so is damaged: it is not what was exported"):
        load_compiled(tmp_path / "network.so")


def test_a_file_of_a_version_without_seals_is_read(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "network.so").write_bytes(saved.read_bytes()[: -SEAL.size])

    assert load_compiled(tmp_path / "network.so").metadata.input_shape == (1, 5, 5)


def test_any_other_library_is_none_of_ours(tmp_path: Path) -> None:
    library = tmp_path / "other.so"
    library.write_bytes(b"\x7fELF")

    with pytest.raises(UserError, match="no compiled model of hwnas"):
        load_compiled(library)
