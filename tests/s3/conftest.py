"""A real S3 server for the session, a world in it, and a fresh prefix for every test."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand import server as stand
from stand.world import World, make_world

from pipeline import store_client
from pipeline.locations import S3Location


@pytest.fixture(scope="session")
def server() -> Iterator[stand.StoreServer]:
    """A server of this process's own: some tests take it away for a while."""
    if reason := stand.missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="p2v-s3-"))
    running = stand.StoreServer(folder)
    yield running
    running.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def world(server: stand.StoreServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Bundle and table, on disk and in the store."""
    with pytest.MonkeyPatch.context() as patch:
        _set(patch, server)
        return make_world(tmp_path_factory.mktemp("s3"), S3Location(stand.BUCKET, "world"))


@pytest.fixture
def place(
    server: stand.StoreServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], str]:
    """Names prefixes where there is nothing; the test's own settings lead to the server."""
    _set(monkeypatch, server)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: f"s3://{stand.BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store that does not answer is given up at once."""
    monkeypatch.setattr(store_client, "RETRIES", 1)
    store_client._connect.cache_clear()
    yield
    store_client._connect.cache_clear()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Notes a line for the end of the run."""

    def note(line: object) -> None:
        name = request.node.name.removeprefix("test_").replace("_", " ")
        request.node.user_properties.append(("s3 figure", f"{name}: {line}"))

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of every suite that ran."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    lines = [text for r in reports for name, text in r.user_properties if name == "s3 figure"]
    if lines:
        terminalreporter.section("object store")
        for line in sorted(lines):
            terminalreporter.write_line(line)


def _set(patch: pytest.MonkeyPatch, server: stand.StoreServer) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP"):
        patch.delenv(name, raising=False)
    for name, value in server.environment().items():
        patch.setenv(name, value)
