"""`serve` on real servers: what is due fires, and nothing that dies leaves anything behind.

A scheduled run that really fires is the only test that finds a server whose scheduler is broken
while everything else works (SQLAlchemy 2.1 did that).
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.flows, pytest.mark.timeout(600)]
# Every run of the tests asks the first thing to ask of a schedule: does a run begin when it is due?
slow = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, happened: Callable[[], Any], *, seconds: float, logs: list[Path]) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.5)
    told = "\n".join(log.read_text()[-3000:] for log in logs if log.exists())
    return pytest.fail(f"{what} did not happen within {seconds:.0f} s\n{told}")


def descendants(pid: int) -> list[int]:
    """Numbers of the processes that `pid` started, and that those started."""
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    children = [int(child) for child in told.stdout.split()]
    return children + [deeper for child in children for deeper in descendants(child)]


@dataclass
class Service:
    """A process that is stopped in the end, with what it started."""

    words: list[str]
    cwd: Path
    env: dict[str, str]
    log: Path
    process: Any = None

    def start(self) -> None:
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                self.words,
                cwd=self.cwd,
                env=self.env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def stop(self, sent: int = signal.SIGTERM) -> None:
        """End the process alone with `sent`, as systemd and a person do."""
        self.process.send_signal(sent)
        self.process.wait(60)

    def kill(self) -> None:
        """Lose it at once with all that it started, as a machine is lost."""
        # A worker's runs are in sessions of their own.
        for pid in (self.process.pid, *descendants(self.process.pid)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """End all of its processes."""
        if self.process is not None:
            for sent in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, sent)
                    self.process.wait(20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


@dataclass
class PrefectServer(Service):
    """A Prefect server that can be asked, stopped and started again."""

    port: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers; None where it does not, or refuses."""
        method, given = ("GET", {}) if body is None else ("POST", {"json": body})
        deadline = time.monotonic() + 60
        try:
            reply = httpx.request(method, self.api + path, timeout=30, **given)
            # Which it says when SQLite is locked; its own client asks again as well.
            while reply.status_code == 503 and time.monotonic() < deadline:
                time.sleep(1)
                reply = httpx.request(method, self.api + path, timeout=30, **given)
        except httpx.TransportError:
            return None
        return reply.json() if reply.is_success else None

    def start(self) -> None:
        super().start()
        wait_for("the server's start", lambda: self.ask("/health"), seconds=180, logs=[self.log])

    def runs(self, *states: str) -> list[Any]:
        """Flow runs, own and called, in one of `states`."""
        return self.ask("/flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": states}}}})


def prefect_server(home: Path, extra: dict[str, str]) -> PrefectServer:
    home.mkdir(exist_ok=True)
    port = free_port()
    words = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    env = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "PYTHONSAFEPATH": "1", **extra}
    return PrefectServer(words, home, env, home / "server.log", port=port)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = prefect_server(tmp_path_factory.mktemp("server"), {})
    server.start()
    yield server
    server.end()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of this test's own; the address of its database."""
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(tools[-1]) if tools else shutil.which("initdb")
    if found is None:
        pytest.skip("needs PostgreSQL's initdb and postgres, found none")
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next(name for name in ("postgres", "nobody") if name in names)
        shutil.chown(folder, user)
    data, port, bin_ = folder / "data", free_port(), Path(found).parent
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [found, "-D", str(data), "-U", "prefect", "-A", "trust", "-E", "UTF8", "--no-sync"],
        cwd=folder,
        env=env,
        user=user,
        check=True,
        capture_output=True,
    )
    address = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    with (
        (folder / "postgres.log").open("w") as log,
        subprocess.Popen(
            [bin_ / "postgres", "-D", str(data), *address],
            cwd=folder,
            env=env,
            user=user,
            stdout=log,
            stderr=log,
        ) as process,
    ):

        def answers() -> bool:
            ask = [bin_ / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
            return subprocess.run(ask).returncode == 0

        try:
            wait_for("Postgres", answers, seconds=60, logs=[folder / "postgres.log"])
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # at once, connections or not


@dataclass
class Project:
    """A folder with a project file, and a `serve` of it that can be stopped and started again."""

    folder: Path
    serving: Service
    server: PrefectServer

    @property
    def name(self) -> str:
        return self.folder.name

    def deployment(self) -> Any:
        return self.server.ask(f"/deployments/name/scheduled-embed/{self.name}")

    def runs(self, **wanted: Any) -> list[Any]:
        """Its deployment's runs, the newest first."""
        body = {"flow_runs": {"deployment_id": {"any_": [self.deployment()["id"]]}, **wanted}}
        return self.server.ask("/flow_runs/filter", {**body, "sort": "START_TIME_DESC"}) or []

    def served(self) -> bool:
        return "serving scheduled-embed" in self.serving.log.read_text()

    def serve(self) -> None:
        self.serving.log.unlink(missing_ok=True)
        self.serving.start()
        self.wait("serve", self.served, seconds=240)

    def run_now(self, job: dict[str, Any] | None = None) -> str:
        """Start a run by hand, as the button on Prefect's page does."""
        body: dict[str, Any] = {"state": {"type": "SCHEDULED"}}
        if job is not None:
            body["parameters"] = {"job": job}
        run = self.server.ask(f"/deployments/{self.deployment()['id']}/create_flow_run", body)
        return str(run["id"])

    def state(self, run: str) -> str:
        found = self.server.ask(f"/flow_runs/{run}")
        return str(found["state_name"]) if found else ""

    def wait(self, what: str, happened: Callable[[], Any], *, seconds: float = 240) -> Any:
        logs = [self.server.log, self.serving.log]
        return wait_for(what, happened, seconds=seconds, logs=logs)


EVERY_MINUTE = "* * * * *"
# Prefect wants a cron line that names times: 29 February is far enough.
NEVER = "0 0 29 2 *"


def project_in(
    folder: Path, server: PrefectServer, bundle: Path, source: Path, cron: str
) -> Project:
    """A project in a folder of its own, with packages in it that have our names."""
    for name in ("flows", "pipeline", "export", "training"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    (folder / "parquet2vec.toml").write_text(
        f'[embed]\nbundle = "{bundle}"\nsource = "{source}"\ndestination = "out"\n'
        f'[schedule]\ntimezone = "Europe/Berlin"\n'
        f'[schedule.embed]\ncron = "{cron}"\nretry_delay = "2m"\n'
    )
    words = [str(Path(sys.executable).with_name("parquet2vec")), "serve", "parquet2vec.toml"]
    home = folder.parent / f"{folder.name}-home"
    env = {**os.environ, "PREFECT_API_URL": server.api, "PREFECT_HOME": str(home)}
    return Project(folder, Service(words, folder, env, folder / "serve.log"), server)


@pytest.fixture
def project(server: PrefectServer, bundle: Path, source: Path, tmp_path: Path) -> Iterator[Project]:
    """A project whose schedule never fires, served."""
    project = project_in(tmp_path / tmp_path.name, server, bundle, source, NEVER)
    project.serve()
    yield project
    project.serving.end()


def fires_and_publishes(server: PrefectServer, bundle: Path, source: Path, folder: Path) -> None:
    project = project_in(folder, server, bundle, source, EVERY_MINUTE)
    try:
        project.serve()
        project.wait(
            "a scheduled run",
            lambda: [
                run
                for run in project.runs(state={"type": {"any_": ["COMPLETED"]}})
                if run["auto_scheduled"]
            ],
        )
        assert (folder / "out" / "current").exists()
        assert "not ours" not in project.serving.log.read_text()
    finally:
        project.serving.end()


def test_a_scheduled_embedding_fires_and_publishes(
    server: PrefectServer, bundle: Path, source: Path, tmp_path: Path
) -> None:
    fires_and_publishes(server, bundle, source, tmp_path / "sqlite")


@slow
def test_a_scheduled_refresh_fires_and_trains_promotes_and_embeds(
    server: PrefectServer, bundle: Path, source: Path, tmp_path: Path
) -> None:
    project = project_in(tmp_path / "renewed", server, bundle, source, NEVER)
    (project.folder / "parquet2vec.toml").write_text(
        f'[train]\nsource = "{source}"\nkey = ["id"]\nlabel = ["late"]\nignore = ["at"]\n'
        f'recipe = "linear"\ndim = 3\n[embed]\nsource = "{source}"\ndestination = "out"\n'
        f'[refresh]\nmodels = "models"\n[schedule.refresh]\ncron = "{EVERY_MINUTE}"\n'
    )
    try:
        project.serving.start()
        ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED"]}}}

        def runs() -> list[Any]:
            found = server.ask(f"/deployments/name/scheduled-refresh/{project.name}")
            body = {"flow_runs": {"deployment_id": {"any_": [found["id"]]}, **ended}}
            return server.ask("/flow_runs/filter", body) if found else []

        served = lambda: "serving" in project.serving.log.read_text()  # noqa: E731
        project.wait("serve", served, seconds=240)
        [run, *_] = project.wait("a scheduled run", runs, seconds=400)
        assert (run["state_name"], run["auto_scheduled"]) == ("Completed", True)
    finally:
        project.serving.end()
    assert (project.folder / "models" / "production" / "encoder.onnx").exists()
    assert (project.folder / "out" / "current" / "_manifest.json").exists()


@slow
def test_a_scheduled_run_works_on_a_dask_cluster_by_its_address(
    server: PrefectServer, bundle: Path, source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask")
    address, port = "tcp://127.0.0.1", free_port()
    project = project_in(tmp_path / "dask", server, bundle, source, NEVER)
    text = (project.folder / "parquet2vec.toml").read_text()
    (project.folder / "parquet2vec.toml").write_text(
        f'{text}[flow]\nrunner = "dask"\ndask_address = "{address}:{port}"\n'
    )
    env = {**project.serving.env, "PYTHONSAFEPATH": "1"}

    def dask(name: str, *words: str) -> Service:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, "--no-dashboard"]
        return Service(command, tmp_path, env, tmp_path / f"{name}.log")

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(port))
    worker = dask("worker", f"{address}:{port}", "--nthreads", "1")
    try:
        for service in (scheduler, worker):
            service.start()
        project.serve()
        run = project.run_now()
        project.wait("its end", lambda: project.state(run) in ("Completed", "Failed"))
        assert project.state(run) == "Completed", project.serving.log.read_text()
    finally:
        for service in (project.serving, worker, scheduler):
            service.end()
    assert (project.folder / "out" / "current" / "_manifest.json").exists()


@slow
def test_a_scheduled_embedding_fires_and_publishes_on_postgres(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="p2v-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with postgres(Path(folder)) as address:
            settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": address}
            server = prefect_server(tmp_path / "server", settings)
            try:
                server.start()
                fires_and_publishes(server, bundle, source, tmp_path / "postgres")
            finally:
                server.end()


def waiting_run(project: Project) -> str:
    """A run that works for minutes: its table is not there yet, and it waits for its next try."""
    return late_run(project, project.serving)


def late_run(project: Project, runner: Service) -> str:
    """Such a run, at `runner`."""
    job = project.deployment()["parameters"]["job"]
    run = project.run_now({**job, "source": str(project.folder / "late")})
    told = "failed, the next comes in"
    project.wait("a first try", lambda: told in runner.log.read_text())
    return run


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
@slow
def test_a_stopped_serve_leaves_no_run_running_and_the_next_one_goes_on(
    sent: signal.Signals, project: Project, source: Path
) -> None:
    run = waiting_run(project)
    project.serving.stop(sent)
    assert project.serving.process.returncode == 0
    assert "given back  1 runs" in project.serving.log.read_text()
    assert "Traceback" not in project.serving.log.read_text()
    assert project.server.runs("Running", "Pending", "Cancelling") == []
    assert project.state(run) == "AwaitingRetry"
    assert project.deployment()["paused"] is False
    (project.folder / "late").symlink_to(source)
    project.serve()
    project.wait("the run's end", lambda: project.state(run) == "Completed")


@slow
def test_a_killed_serve_and_its_runs_are_found_by_the_next_one(
    project: Project, source: Path
) -> None:
    run = waiting_run(project)
    watching = automations(project.server)
    project.serving.kill()
    assert project.state(run) == "Running"
    (project.folder / "late").symlink_to(source)
    project.serve()
    project.wait("the run's end", lambda: project.state(run) == "Completed")
    project.wait("no run at work", lambda: project.server.runs("Running") == [])
    assert len(watching) == 2
    assert automations(project.server) == watching


def automations(server: PrefectServer) -> list[Any]:
    """What the server does by itself for our runs."""
    found = server.ask("/automations/filter", {})
    return [item for item in found if item["name"].startswith("parquet2vec")]


@slow
def test_two_serves_of_one_file_share_its_runs_and_end_only_their_own(
    project: Project, source: Path, tmp_path: Path
) -> None:
    first = waiting_run(project)
    other = Service(
        project.serving.words, project.folder, project.serving.env, tmp_path / "other.log"
    )
    other.start()
    try:
        served = lambda: "serving scheduled-embed" in other.log.read_text()  # noqa: E731
        wait_for("the other's start", served, seconds=240, logs=[other.log])
        assert project.state(first) == "Running"
        other.stop()
        assert "given back" not in other.log.read_text()
        assert project.state(first) == "Running"
    finally:
        other.end()
    (project.folder / "late").symlink_to(source)
    project.wait("the run's end", lambda: project.state(first) == "Completed")
    assert project.server.ask(f"/flow_runs/{first}")["run_count"] == 1


@slow
def test_runs_that_were_missed_are_made_up_for_once(project: Project) -> None:
    project.serving.stop()
    as_scheduled(project.server, [project.run_now() for _ in range(4)])
    project.serve()
    names = project.wait(
        "the last one's end",
        lambda: (
            sorted(run["state_name"] for run in project.runs())
            if project.runs(state={"type": {"any_": ["COMPLETED"]}})
            else None
        ),
    )
    assert names == ["Completed", "Missed", "Missed", "Missed"]


def as_scheduled(server: PrefectServer, runs: list[str]) -> None:
    """Mark `runs` as made by the server's scheduler, which its API leaves to the scheduler."""
    import sqlite3

    database = Path(server.env["PREFECT_HOME"]) / "prefect.db"
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for run in runs:
            done = connection.execute("UPDATE flow_run SET auto_scheduled = 1 WHERE id = ?", (run,))
            assert done.rowcount == 1


@slow
def test_a_server_that_restarts_loses_nothing(project: Project, source: Path) -> None:
    run = waiting_run(project)
    project.server.stop()
    (project.folder / "late").symlink_to(source)
    # Prefect's own runner gives up after three polls, half a minute.
    time.sleep(60)
    assert project.serving.process.poll() is None
    project.server.start()
    project.wait("the run's end", lambda: project.state(run) == "Completed", seconds=240)
    again = project.run_now()
    project.wait("another run", lambda: project.state(again) == "Completed")


@slow
def test_a_run_is_cancelled_from_the_page_also_after_a_restart(project: Project) -> None:
    project.server.stop()
    time.sleep(60)
    project.server.start()
    run = waiting_run(project)
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    project.server.ask(f"/flow_runs/{run}/set_state", cancelling)
    project.wait("its end", lambda: project.state(run) == "Cancelled", seconds=180)


@slow
def test_a_wrong_parameter_is_refused_before_a_run_is_made(project: Project) -> None:
    job = project.deployment()["parameters"]["job"]
    for wrong in ({**job, "keep": 0}, {**job, "destinaton": "x"}, {**job, "vector": "round"}):
        body = {"parameters": {"job": wrong}, "state": {"type": "SCHEDULED"}}
        url = f"{project.server.api}/deployments/{project.deployment()['id']}/create_flow_run"
        assert httpx.post(url, json=body, timeout=30).status_code in (409, 422)
    assert project.runs() == []


@slow
def test_the_second_of_two_runs_for_one_destination_is_skipped(project: Project) -> None:
    waiting_run(project)
    second = project.run_now()
    project.wait("its end", lambda: project.state(second) == "Skipped")


@slow
def test_a_worker_of_a_pool_runs_what_was_handed_over(
    server: PrefectServer, bundle: Path, source: Path, tmp_path: Path
) -> None:
    project = project_in(tmp_path / "pooled", server, bundle, source, NEVER)
    handing = [*project.serving.words, "--work-pool", "lake"]
    done = subprocess.run(
        handing, cwd=project.folder, env=project.serving.env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # From the project's folder, with its foreign packages: a run works in a folder of its own.
    words = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "lake"]
    env = {**project.serving.env, "PYTHONSAFEPATH": "1"}
    worker = Service(words, project.folder, env, tmp_path / "worker.log")
    worker.start()
    try:
        run = project.run_now()
        logs = [server.log, worker.log]
        ended = lambda: project.state(run) == "Completed"  # noqa: E731
        wait_for("the run's end", ended, seconds=180, logs=logs)
        assert (project.folder / "out" / "current").exists()
        # A host that is gone for good, with all that it ran.
        impatient(server, seconds=40)
        lost = late_run(project, worker)
        worker.kill()
        again = lambda: project.state(lost) == "AwaitingRetry"  # noqa: E731
        wait_for("the server's sending it back", again, seconds=240, logs=logs)
        (project.folder / "late").symlink_to(source)
        worker.start()
        ended = lambda: project.state(lost) == "Completed"  # noqa: E731
        wait_for("the lost run's end", ended, seconds=240, logs=logs)
        none = lambda: server.runs("Running") == []  # noqa: E731
        wait_for("no run at work", none, seconds=120, logs=logs)
    finally:
        worker.end()


def impatient(server: PrefectServer, *, seconds: int) -> None:
    """Let a run count as silent after `seconds`, a little more than the time between heartbeats."""
    [silent] = [item for item in automations(server) if "heartbeat" in item["name"]]
    body = {name: silent[name] for name in ("name", "description", "trigger", "actions")}
    body["trigger"]["within"] = seconds
    answer = httpx.put(f"{server.api}/automations/{silent['id']}", json=body, timeout=30)
    assert answer.is_success, answer.text


@slow
def test_a_pool_of_another_type_is_refused(
    server: PrefectServer, bundle: Path, source: Path, tmp_path: Path
) -> None:
    server.ask("/work_pools/", {"name": "boxes", "type": "docker"})
    project = project_in(tmp_path / "boxed", server, bundle, source, NEVER)
    handing = [*project.serving.words, "--work-pool", "boxes"]
    done = subprocess.run(
        handing, cwd=project.folder, env=project.serving.env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "work pool boxes must be of type process, found docker" in done.stderr
