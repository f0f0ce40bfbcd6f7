"""A scheduled run really fires, on a real server: the only test that finds a server whose
scheduler is broken while everything else works (SQLAlchemy 2.1 did that)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.flows, pytest.mark.slow]

# Prefect puts the working folder first in sys.path when it loads a flow by its module's name,
# whatever PYTHONSAFEPATH says: only an empty working folder keeps a user's `flows` out.
SERVE = """
import os, sys, tempfile
from datetime import timedelta
from prefect import serve
from prefect.deployments.runner import EntrypointType
from flows.embed import embed

os.chdir(tempfile.mkdtemp())
bundle, source, destination = sys.argv[1:]
serve(
    embed.to_deployment(
        name="test",
        interval=timedelta(seconds=10),
        parameters={"job": {"bundle": bundle, "source": source, "destination": destination}},
        entrypoint_type=EntrypointType.MODULE_PATH,
    ),
    pause_on_shutdown=False,
)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*words: str, cwd: Path, env: dict[str, str], log: Path) -> Iterator[None]:
    """A process that is stopped in the end, with what it started."""
    with (
        log.open("w") as out,
        subprocess.Popen(
            words, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True
        ) as process,
    ):
        try:
            yield
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


def wait_for(what: str, happened: Callable[[], Any], *, seconds: float, logs: list[Path]) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.5)
    told = "\n".join(log.read_text()[-3000:] for log in logs if log.exists())
    return pytest.fail(f"{what} did not happen within {seconds:.0f} s\n{told}")


def test_a_scheduled_embedding_fires_and_publishes(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    import httpx

    foreign, home, out = tmp_path / "project", tmp_path / "home", tmp_path / "out"
    for name in ("flows", "pipeline"):
        (foreign / name).mkdir(parents=True)
        (foreign / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    api = f"http://127.0.0.1:{(port := free_port())}/api"
    env = {**os.environ, "PREFECT_HOME": str(home), "PYTHONSAFEPATH": "1"}
    logs = [tmp_path / "server.log", tmp_path / "serve.log"]

    def answered(path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            reply = httpx.post(api + path, json=body) if body else httpx.get(api + path)
        except httpx.TransportError:
            return None
        return reply.json() if reply.status_code == 200 else None

    def completed() -> bool:
        chosen = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        return any(run["auto_scheduled"] for run in answered("/flow_runs/filter", chosen) or [])

    server = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with running(*server, cwd=foreign, env=env, log=logs[0]):
        wait_for("the server's start", lambda: answered("/health"), seconds=120, logs=logs)
        serving = [sys.executable, "-c", SERVE, str(bundle), str(source), str(out)]
        env |= {"PREFECT_API_URL": api}
        with running(*serving, cwd=foreign, env=env, log=logs[1]):
            wait_for("a scheduled run", completed, seconds=120, logs=logs)
    assert (out / "current").exists()
