"""When a Prefect server counts as open, and that a run's own server ends with it."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.server import explaining_refusals, open_door, warn_if_open
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


@pytest.mark.parametrize(("status", "error"), [(401, ConfigError), (500, httpx.HTTPStatusError)])
def test_a_refused_password_names_the_setting(status: int, error: type[Exception]) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    request = httpx.Request("GET", "http://prefect/api/version")
    answer = httpx.Response(status, request=request)
    with pytest.raises(error) as told, explaining_refusals():
        raise PrefectHTTPStatusError("refused", request=request, response=answer)
    assert ("PREFECT_API_AUTH_STRING" in str(told.value)) == (status == 401)


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


TEMPORARY = """
import sys
from flows.server import prepare_prefect, temporary_server

prepare_prefect()
with temporary_server():
    from prefect.settings import PREFECT_API_URL

    print(PREFECT_API_URL.value(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.flows
def test_a_temporary_server_lets_nobody_else_in_and_dies_with_its_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TEMPORARY],
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    api = process.stdout.readline().strip()
    assert httpx.get(f"{api}/health").status_code == 200
    assert httpx.post(f"{api}/flow_runs/filter", json={}).status_code == 401
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while answers(f"{api}/health"):
        assert time.monotonic() < deadline, "the server outlived its run"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


AUTH = "admin:correct-horse-battery-staple"
ORIGIN = "https://prefect.example.org"


@dataclass
class Server:
    """A running Prefect server that is set up as docs/howto/prefect-server.md says."""

    api: str
    log: Path

    def ask(self, method: str, path: str, auth: str | None, **headers: str) -> httpx.Response:
        if auth is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        body = {} if method == "POST" else None
        return httpx.request(method, self.api + path, headers=headers, json=body)

    def hear(self, path: str, auth: str | None, *, subprotocol: str | None) -> str:
        """The first message of a websocket, or the name of what was raised instead."""
        return asyncio.run(self._hear(path, auth, subprotocol))

    async def _hear(self, path: str, auth: str | None, subprotocol: str | None) -> str:
        import websockets

        url = self.api.replace("http://", "ws://") + path
        offered: Any = [subprotocol] if subprotocol else None
        try:
            async with websockets.connect(url, subprotocols=offered) as connection:
                await connection.send(json.dumps({"type": "auth", "token": auth}))
                return str(await asyncio.wait_for(connection.recv(), 10))
        except websockets.WebSocketException as refused:
            return type(refused).__name__


def settings_of_the_page() -> dict[str, str]:
    """What docs/howto/prefect-server.md says of the server."""
    page = Path(__file__).parents[2] / "docs" / "howto" / "prefect-server.md"
    block = page.read_text(encoding="utf-8").split("```ini\n")[1].split("```")[0]
    return dict(line.split("=", 1) for line in block.splitlines())


def test_the_page_closes_the_server() -> None:
    settings = settings_of_the_page()
    assert settings["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert settings["PREFECT_SERVER_API_AUTH_STRING"]
    assert settings["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == ORIGIN


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = settings_of_the_page() | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": AUTH,
    }
    server = Server(f"http://127.0.0.1:{port}/api", home / "server.log")
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("prefect"), "server", "start"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 120
    while not answers(f"{server.api}/health"):
        assert process.poll() is None, server.log.read_text()
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.2)
    yield server
    process.terminate()
    process.wait(timeout=30)


slow = pytest.mark.slow


@slow
@pytest.mark.parametrize("auth", [None, "admin:wrong", "admin"])
@pytest.mark.parametrize("path", ["/version", "/admin/version", "/csrf-token?client=a"])
def test_a_closed_server_answers_nobody_without_the_password(
    closed_server: Server, path: str, auth: str | None
) -> None:
    assert closed_server.ask("GET", path, auth).status_code == 401


@slow
def test_a_closed_server_writes_only_with_password_and_token(closed_server: Server) -> None:
    token = closed_server.ask("GET", "/csrf-token?client=a", AUTH).json()["token"]
    signed = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "a"}
    path = "/flow_runs/filter"
    assert closed_server.ask("POST", path, AUTH, **signed).status_code == 200
    assert closed_server.ask("POST", path, AUTH).status_code == 403
    assert closed_server.ask("POST", path, None, **signed).status_code == 401


@slow
def test_a_closed_server_names_one_origin_to_browsers(closed_server: Server) -> None:
    allowed = "access-control-allow-origin"
    ours = closed_server.ask("GET", "/version", AUTH, Origin=ORIGIN)
    assert ours.headers[allowed] == ORIGIN
    for path in ("/version", "/health"):
        other = closed_server.ask("GET", path, AUTH, Origin="https://elsewhere.example")
        assert allowed not in other.headers


@slow
@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_a_closed_servers_websockets_ask_for_the_password(closed_server: Server, path: str) -> None:
    assert closed_server.hear(path, AUTH, subprotocol=None) == "InvalidStatus"
    for wrong in (None, "admin:wrong"):
        assert closed_server.hear(path, wrong, subprotocol="prefect") == "ConnectionClosedError"
    assert "auth_success" in closed_server.hear(path, AUTH, subprotocol="prefect")


@slow
@pytest.mark.flows
@pytest.mark.parametrize(("auth", "code"), [(AUTH, 0), (None, 2), ("admin:wrong", 2)])
def test_a_flow_needs_the_password_of_a_closed_server(
    auth: str | None,
    code: int,
    closed_server: Server,
    cli: Callable[..., Any],
    bundle: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "parquet2vec.toml"
    config.write_text(f'[embed]\nbundle = "{bundle}"\nsource = "{source}"\ndestination = "out"\n')
    monkeypatch.setenv("PREFECT_API_URL", closed_server.api)
    if auth is not None:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", auth)
    done = cli("flow", "embed", config)
    assert done.code == code, done.err
    assert ("PREFECT_API_AUTH_STRING" in done.err) == (code != 0)
    assert "Traceback" not in done.err
    assert AUTH not in done.out + done.err + closed_server.log.read_text()
