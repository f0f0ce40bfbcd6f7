"""Prefect's server: its settings, whether it is open, and one that lasts for a run."""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

from flows import logs
from pipeline.errors import ConfigError, ServerError
from pipeline.events import LOGGER

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A busy machine needs longer than Prefect's 20 seconds to start a server and fill its database.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # SQLite answers "database is locked" as 503; the default of 5 retries gives up too early.
    "PREFECT_CLIENT_MAX_RETRIES": "20",
    # The temporary server is stopped with work in its queues and logs a traceback for each.
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    # What happens outside of a flow run is nobody's page.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Our packages have everyday names: no child may find a user's `flows` folder instead.
    "PYTHONSAFEPATH": "1",
}
_EXTRA_LOGGERS = "PREFECT_LOGGING_EXTRA_LOGGERS"
# What the runs of a work pool's worker must find in their environment; the command line sets it.
HANDED_ON = (
    "ARROW_DEFAULT_MEMORY_POOL",
    "OPENBLAS_THREAD_TIMEOUT",
    logs.LOG_FORMAT,
    "PREFECT_CLIENT_MAX_RETRIES",
    _EXTRA_LOGGERS,
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW",
    "PYTHONSAFEPATH",
)
UNAUTHORIZED = 401
_HOW = "docs/howto/prefect-server.md shows how to close it"


def prepare_prefect() -> None:
    """Set what Prefect reads when it is imported; whatever the user set stays as it is."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Our events are shown with the flow run that they belong to.
    named = [name for name in os.environ.get(_EXTRA_LOGGERS, "").split(",") if name.strip()]
    if LOGGER not in named:
        os.environ[_EXTRA_LOGGERS] = ",".join([*named, LOGGER])


def warn_if_open() -> None:
    """One line on standard error if the server that Prefect is configured for is open.

    Raises:
        ConfigError: if PREFECT_API_URL holds credentials, which Prefect would print.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

    credentials = PREFECT_API_AUTH_STRING.value() or PREFECT_API_KEY.value()
    found = open_door(PREFECT_API_URL.value(), has_credentials=bool(credentials))
    if found is not None:
        logs.say(f"warning: {found}; {_HOW}", level=logging.WARNING)


def open_door(url: str | None, *, has_credentials: bool) -> str | None:
    """What is wrong with talking to the server at `url`; None on this machine, or if it is closed.

    Raises:
        ConfigError: if the URL holds credentials.

    >>> open_door("http://127.0.0.1:4200/api", has_credentials=False)
    >>> open_door("http://prefect:4200/api", has_credentials=True)
    'PREFECT_API_URL is http to prefect: credentials and parameters cross the network unencrypted'
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            "PREFECT_API_URL must not hold credentials, found some; set PREFECT_API_AUTH_STRING"
        )
    if is_here(parts.hostname):
        return None
    if not has_credentials:
        return (
            f"PREFECT_API_URL names {parts.hostname} and PREFECT_API_AUTH_STRING is not set: "
            "if the server asks for none, whoever reaches it can read and start runs"
        )
    if parts.scheme == "http":
        return (
            f"PREFECT_API_URL is http to {parts.hostname}: credentials and parameters cross the "
            "network unencrypted"
        )
    return None


def is_here(host: str | None) -> bool:
    """Whether `host` is this machine by its loopback name or address."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@contextmanager
def explaining_refusals() -> Iterator[None]:
    """A server that asks for a password, or does not answer, becomes an error that says so.

    Raises:
        ConfigError: if the server refused what it was given.
        ServerError: if it cannot be reached.
    """
    from httpx import TransportError
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        yield
    except PrefectHTTPStatusError as error:
        if error.response.status_code != UNAUTHORIZED:
            raise
        raise ConfigError(
            "the Prefect server asks for a password, found none or a wrong one; set "
            "PREFECT_API_AUTH_STRING to what its PREFECT_SERVER_API_AUTH_STRING is"
        ) from None
    except TransportError as error:
        raise _unreachable(error) from None
    except RuntimeError as error:
        if not str(error).startswith(_PREFECTS_WORDS):
            raise
        raise _unreachable(error) from None


# What Prefect's client says when it starts and nobody answers.
_PREFECTS_WORDS = "Failed to reach API"


def require_answer() -> None:
    """Ask the configured server whether it is there.

    Raises:
        ServerError: if it does not answer.
    """
    from httpx import TransportError
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.api_healthcheck()
    if isinstance(found, TransportError):
        raise _unreachable(found)


def _unreachable(error: Exception) -> ServerError:
    from prefect.settings import PREFECT_API_URL

    reason = "it went away" if isinstance(error, RuntimeError) else str(error)
    return ServerError(
        f"a Prefect server must answer at {PREFECT_API_URL.value()}, found none ({reason}); start "
        "it, or set PREFECT_API_URL to where it is"
    )


@contextmanager
def temporary_server() -> Iterator[None]:
    """Prefect with a server for this process alone, which lasts as long as the process does.

    Other users of the machine, and pages in a browser, reach its port but have no password.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    url, password = _started()
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}):
        yield


@cache
def _started() -> tuple[str, str]:
    """Address and authentication string of the one temporary server of this process."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, temporary_settings

    password = f"parquet2vec:{secrets.token_urlsafe()}"
    server = SubprocessASGIServer()
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: password}):
        server.start()
    if server.server_process is not None:
        _end_with_this_process(server.server_process.pid)
    return server.api_url, password


def _end_with_this_process(pid: int) -> None:
    """Have the process `pid` ended when this one is killed, which no `atexit` would notice.

    A shell waits for the end of a pipe that only this process holds open.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill "$1"', "sh", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def dismiss() -> None:
        guard.kill()
        guard.communicate()

    # Runs before Prefect's own, which stops the server: its number must not be killed after that.
    atexit.register(dismiss)
