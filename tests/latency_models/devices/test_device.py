"""Devices: the bundled rows are whole, the user's are read, mistakes are told by name."""

from pathlib import Path

import pytest

from latency_models.devices.device import (
    Device,
    cpu_of,
    get_device,
    list_devices,
)
from latency_models.devices.host import FLAGS, cpu_name, host_instruction_sets
from search_spaces.graphs.errors import UserError

REMOTE = "description = 'x'\nmcpu = 'cortex-a72'\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_DEVICES", str(tmp_path))
    return tmp_path


def test_the_bundled_devices_are_there(folder: Path) -> None:
    names = {device.name for device in list_devices()}

    assert {
        *("host", "host-avx2", "host-baseline"),
        *("host-onnxruntime", "host-onnxruntime-2threads"),
    } <= names


def test_a_users_device_is_found_by_its_files_name(folder: Path) -> None:
    text = 'description = "the kiosk"\nmcpu = "skylake"\nthreads = 2\nruntime = "onnxruntime"\n'
    (folder / "kiosk.toml").write_text(text)

    device = get_device("kiosk")

    assert device == Device("kiosk", "the kiosk", "skylake", 2, "onnxruntime")


def test_a_device_elsewhere_says_how_it_is_reached(folder: Path) -> None:
    (folder / "pi.toml").write_text(f"{REMOTE}triple = 'aarch64-linux-gnu'\nrpc = 'pi:9090'")
    (folder / "farm.toml").write_text(f"{REMOTE}tracker = '[::1]:9190'\nkey = 'pi4'")

    pi, farm = get_device("pi"), get_device("farm")

    assert pi.is_remote
    assert farm.is_remote
    assert not get_device("host").is_remote
    assert (pi.where, farm.where) == ("pi:9090", "key pi4 of tracker [::1]:9190")
    assert cpu_of(pi).architecture == "aarch64"


def test_devices_that_are_this_machine_share_its_turn() -> None:
    elsewhere = Device("pi", "", "cortex-a72", rpc="10.0.0.2:9090")
    here = Device("loop", "", "x86-64-v2", rpc="localhost:9090")

    assert (elsewhere.machine, here.machine) == ("pi", "host")
    assert get_device("host-avx2").machine == "host"


def test_an_unknown_device_lists_the_known(folder: Path) -> None:
    with pytest.raises(UserError, match=r"unknown device 'hots'; known devices: .*host"):
        get_device("hots")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('description = "x"\nmcpuu = "y"', "no field 'mcpuu'; did you mean 'mcpu'"),
        ('description = "x"\nthreads = "2"', "threads must be a whole number, got '2'"),
        ('description = "x"\nthreads = true', "threads must be a whole number, got True"),
        ('description = "x"\nthreads = 0', "threads must be at least 1"),
        ('description = "x"\nmax_drift = 1', "max_drift must be above 1, got 1"),
        ('description = "x"\nruntime = "torch"', "runtime must be one of tvm, onnxruntime"),
        ('description = "x"\nmcpu = "native"', "'native' is no exact CPU"),
        ('description = "x"\naddress = "pi:9090"', "no field 'address'"),
        ('description = "x"\nrpc = "pi:9090"', "mcpu 'detect' is this machine's CPU"),
        (f"{REMOTE}rpc = 'pi'", "an address must be HOST:PORT, like 10.0.0.2:9090, got 'pi'"),
        (f"{REMOTE}rpc = 'pi:70000'", "an address must be HOST:PORT"),
        (f"{REMOTE}rpc = 'pi:1'\ntracker = 'pi:2'\nkey = 'pi'", "rpc or by a tracker, got both"),
        (f"{REMOTE}tracker = 'pi:2'", "tracker and key go together"),
        (f"{REMOTE}key = 'pi'", "tracker and key go together"),
        (f"{REMOTE}triple = 'aarch64-linux-gnu'", "is for a device elsewhere"),
        (f"{REMOTE}rpc = 'pi:1'\nruntime = 'onnxruntime'", "runs networks with tvm"),
        ("threads = 2", "needs a description"),
        ("description = ", "cannot read device"),
        (f'description = "x"\nthreads = {"1" * 5000}', "cannot read device"),
        (f'description = "x"\nthreads = {10**30}', "threads must be at least 1 and at most 4096"),
        ('description = "x"\nmax_drift = inf', "max_drift must be above 1 and at most 1e.06, got"),
        (f"description = {'[' * 5000}", "cannot read device"),
        (f"x = '{'y' * 200_000}'", "it has more than 100000 characters"),
    ],
)
def test_a_wrong_row_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "mine.toml").write_text(text)

    with pytest.raises(UserError, match=message):
        list_devices()


def test_a_bundled_name_is_taken(folder: Path) -> None:
    (folder / "host.toml").write_text('description = "mine"')

    with pytest.raises(UserError, match=r"'host' is in .* and comes with hwnas"):
        list_devices()


def test_the_hosts_cpu_is_detected_exactly() -> None:
    cpu = cpu_of(get_device("host"))

    assert cpu.mcpu not in ("", "generic", "native")
    assert cpu.features & set(FLAGS) <= host_instruction_sets()
    assert cpu_name()


def test_a_misspelt_cpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"device mine: LLVM knows no processor 'znver55'"):
        cpu_of(Device("mine", "", mcpu="znver55"))


def test_a_cpu_with_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(UserError, match="which this machine's CPU does not have"):
        cpu_of(get_device("host"), present=frozenset())


def test_code_that_a_device_elsewhere_lacks_instructions_for_is_refused() -> None:
    device = Device("pi", "", "cortex-a76", triple="aarch64-linux-gnu", rpc="pi:9090")

    with pytest.raises(UserError, match=r"needs dotprod.*which the CPU at pi:9090 does not have"):
        cpu_of(device, present=frozenset({"neon"}))


def test_tvm_on_several_threads_is_refused() -> None:
    with pytest.raises(UserError, match="1 thread, got threads 2"):
        cpu_of(Device("mine", "", threads=2))
