from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import limits

Container = Callable[[str, dict[str, str]], None]


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """Makes this process believe in control groups: its membership, then files by path."""
    monkeypatch.setattr(limits, "GROUPS", tmp_path)
    monkeypatch.setattr(limits, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))

    def build(membership: str, files: dict[str, str]) -> None:
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")

    return build


@pytest.mark.parametrize(
    ("membership", "files", "threads"),
    [
        ("0::/", {"cpu.max": "max 100000"}, 16),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/pod/job", {"pod/cpu.max": "300000 100000", "pod/job/cpu.max": "max 100000"}, 3),
        ("0::/pod/job", {"pod/cpu.max": "300000 100000", "pod/job/cpu.max": "200000 100000"}, 2),
        (
            "4:cpu,cpuacct:/docker/x",
            {
                "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        ("4:cpu:/x", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        # Inside a container the path is often the host's, and only the root is there.
        ("0::/kubepods/pod/abc", {"cpu.max": "500000 100000"}, 5),
        ("", {}, 16),
    ],
)
def test_threads_are_those_of_the_container(
    container: Container, membership: str, files: dict[str, str], threads: int
) -> None:
    container(membership, files)
    assert limits.threads() == threads


@pytest.mark.parametrize(
    ("membership", "files", "memory"),
    [
        ("0::/pod", {"pod/memory.max": "1000000000"}, 10**9),
        ("0::/pod/a", {"pod/memory.max": "1000000000", "pod/a/memory.max": "max"}, 10**9),
        ("7:memory:/x", {"memory/x/memory.limit_in_bytes": "500000000"}, 5 * 10**8),
    ],
)
def test_memory_is_that_of_the_container(
    container: Container, membership: str, files: dict[str, str], memory: int
) -> None:
    container(membership, files)
    assert (limits.memory(), limits.default_memory()) == (memory, memory // 2)


def test_without_a_limit_memory_is_the_machines(container: Container) -> None:
    container("7:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"})
    assert 10**8 < limits.memory() < 10**15


def test_what_is_resident_is_counted_in_bytes() -> None:
    assert 10**7 < limits.resident() < 10**11
