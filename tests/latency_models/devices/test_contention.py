"""What slows a machine down is read from what its system tells."""

from pathlib import Path

import pytest

from latency_models.devices.contention import contention, cpu_quota, pressure, steal


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "5", "cpu,cpuacct/x/cpu.cfs_period_us": "20"},
            0.25,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/\n0::/\n", {}, None),
        ("", {}, None),
    ],
)
def test_the_tightest_quota_counts(
    own: str, files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    write(tmp_path / "proc/self/cgroup", own)
    for name, text in files.items():
        write(tmp_path / "cgroups" / name, f"{text}\n")

    assert cpu_quota(tmp_path / "cgroups", tmp_path / "proc") == quota


def test_neighbours_are_seen_by_what_waits_and_what_the_host_takes(tmp_path: Path) -> None:
    write(tmp_path / "pressure/cpu", "some avg10=42.50 avg60=1.00 avg300=0.00 total=9\n")
    write(tmp_path / "stat", "cpu 10 0 0 10 0 0 0 0 0 0\n")

    def later(seconds: float) -> None:
        write(tmp_path / "stat", "cpu 15 0 0 12 0 0 0 3 0 0\n")

    assert pressure(tmp_path) == 0.425
    assert steal(tmp_path, later) == 0.3
    assert pressure(tmp_path / "nowhere") == steal(tmp_path / "nowhere", later) == 0


def test_what_slows_this_machine_down_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("cpu_quota", 0.5), ("pressure", 0.42), ("steal", 0.0)):
        monkeypatch.setattr(f"latency_models.devices.contention.{name}", lambda v=value: v)

    assert contention() == (
        "this process may use 0.5 CPUs (a cgroup's quota), so what runs for longer than a moment "
        "takes longer than its reading; others were waiting for a CPU 42% of the last 10 s"
    )
    monkeypatch.setattr("latency_models.devices.contention.pressure", lambda: 0.05)
    monkeypatch.setattr("latency_models.devices.contention.cpu_quota", lambda: 2.0)
    assert contention() == ""
