"""When a Prefect server counts as open, and that a run's own server ends with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from flows.server import open_door, warn_if_open
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    "url",
    [
        None,
        "http://127.0.0.1:4200/api",
        "http://127.8.8.8:4200/api",
        "http://localhost:4200/api",
        "http://prefect.localhost/api",
        "http://[::1]:4200/api",
    ],
)
@pytest.mark.parametrize("has_credentials", [False, True])
def test_a_server_of_this_machine_needs_no_warning(url: str | None, has_credentials: bool) -> None:
    assert open_door(url, has_credentials=has_credentials) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://prefect:4200/api",
        "https://prefect.example.org/api",
        "http://10.0.0.1/api",
        "http://0.0.0.0:4200/api",
        "http://[2001:db8::1]:4200/api",
        "http://localhost.example.org/api",
        "http://127.0.0.1.example.org/api",
    ],
)
def test_another_machine_without_credentials_is_an_open_door(url: str) -> None:
    assert "PREFECT_API_AUTH_STRING is not set" in str(open_door(url, has_credentials=False))


def test_credentials_without_encryption_are_told() -> None:
    assert "unencrypted" in str(open_door("http://prefect/api", has_credentials=True))
    assert open_door("https://prefect/api", has_credentials=True) is None


def test_an_address_with_credentials_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="set PREFECT_API_AUTH_STRING") as refused:
        open_door("https://me:hunter2@prefect/api", has_credentials=False)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("auth", "lines"), [("PREFECT_API_AUTH_STRING", 0), ("PREFECT_API_KEY", 0), (None, 1)]
)
def test_the_warning_is_one_line_and_reads_prefects_settings(
    auth: str | None, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect import settings

    values = {settings.PREFECT_API_URL: "https://prefect.example.org/api"}
    if auth:
        values[getattr(settings, auth)] = "hunter2"
    with settings.temporary_settings(values):
        warn_if_open()
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == lines
    assert "hunter2" not in told.err


GUARDED = """
import subprocess, sys
from flows.server import _end_with_this_process

guarded = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
_end_with_this_process(guarded.pid)
print(guarded.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def guardian() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that guards another, until its standard input ends; and that other's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", GUARDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    yield process, pid
    process.kill()
    process.communicate()
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process `pid` runs; a zombie does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout) and not done.stdout.startswith("Z")


def ends(pid: int, *, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if not is_alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_a_killed_process_takes_its_server_along(
    guardian: tuple[subprocess.Popen[str], int],
) -> None:
    process, server = guardian
    assert is_alive(server)
    process.send_signal(signal.SIGKILL)
    assert ends(server, within_seconds=10)


def test_a_process_that_ends_well_kills_nothing(
    guardian: tuple[subprocess.Popen[str], int],
) -> None:
    process, server = guardian
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert not ends(server, within_seconds=0.5)
