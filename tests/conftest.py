"""What every test stands on: no network, no tracking, no settings of the person running it."""

import os
import shutil
import tempfile

# Before anything imports Prefect: it reads its settings, and makes its home, on import.
_PREFECT_HOME = tempfile.mkdtemp(prefix="p2v-prefect-")
for _name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[_name]
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "FEAST_USAGE": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "PREFECT_CLIENT_MAX_RETRIES": "20",
        "PREFECT_HOME": _PREFECT_HOME,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "parquet2vec",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
)

import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


class NetworkRefusedError(OSError):
    """A test reached for another machine."""


_refused: list[str] = []


def _is_local(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else (host or "localhost")
    if name == "localhost" or name.endswith(".localhost") or name == socket.gethostname():
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_other_machines(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        connection, address = arguments
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        host = address[0]
        # Connecting a datagram socket sends nothing: it is how libraries ask for their own address.
        counts = event == "socket.sendto" or connection.type == socket.SOCK_STREAM
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host, counts = arguments[0], True
    else:
        return
    if not _is_local(host):
        if counts:
            _refused.append(f"{event} {host!r}")
        raise NetworkRefusedError(f"tests must not leave this machine: {event} {host!r}")


# An audit hook sees what patching socket.socket would miss, C extensions that use it included.
sys.addaudithook(_refuse_other_machines)


@pytest.fixture(autouse=True)
def no_network() -> Iterator[list[str]]:
    """Fails the test that reached for another machine, even when a library swallowed the refusal.

    Gives the list of refusals so far; a test of the guard itself empties it.
    """
    _refused.clear()
    yield _refused
    assert not _refused, f"reached for the network: {_refused}"


def pytest_unconfigure() -> None:
    """Leaves no Prefect home behind."""
    shutil.rmtree(_PREFECT_HOME, ignore_errors=True)
