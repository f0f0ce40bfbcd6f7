"""Thirty nights as a scheduler runs them, with what goes wrong in some: nobody has to step in.

`serve` registers the deployments. Every run is made on the server for one of them and executed in a
process of its own, as Prefect's runner does it; these processes are forked from one that has
imported everything, because an import costs more than the work of a night.
"""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from harness import shim
from harness.process import KILLED, Ended, Processes
from harness.shim import Kind, Mode, Plan
from prefect.client.orchestration import get_client
from prefect.states import Pending

from pipeline import resolve
from pipeline.bundle import Bundle
from pipeline.destinations import open_destination
from pipeline.drift_notes import notes
from pipeline.drift_report import DriftReport
from pipeline.publishing import Made, VersionManifest

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(1800)]

IMPORTS = ("flows.serving", "flows.scheduled", "flows.runs", "flows.verbs", "training.fit")
IMPORTS += ("training.evaluation", "training.report", "export.package", "torch.onnx", "onnxscript")
HISTORY, DAYS = 10, 30
ROWS = 500
LATE, CORRECTED = 6, 3
BAD, CRASH, DRIFT = 11, 16, 28
MINUTES_LATER = 15.0
PATIENCE = 600.0
# 29 February: runs are made here, one for each day of the month.
NEVER = "0 0 29 2 *"
PROJECT = f"""
[train]
source = "table"
key = ["id"]
label = ["late"]
ignore = ["at", "day"]
recipe = "linear"
dim = 3

[embed]
source = "table"
destination = "vectors"
threads = 1

[refresh]
models = "models"
margin = 0.1

[monitor]
refresh = true
pause = "0s"

[schedule.embed]
cron = "{NEVER}"
retries = 1
retry_delay = "1s"

[schedule.refresh]
cron = "{NEVER}"
retries = 0
"""
Make = Callable[..., pa.Table]


@dataclass
class Month:
    """A project folder, its deployments on the server, and the table that grows."""

    folder: Path
    processes: Processes
    table: Make
    days: dict[int, pa.Table] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.folder / "parquet2vec.toml"

    @property
    def vectors(self) -> Path:
        return self.folder / "vectors"

    def partition(self, day: int) -> Path:
        return self.folder / "table" / f"day={date(2026, 3, 1) + timedelta(days=day)}"

    def arrive(self, day: int, *, seed: int | None = None, files: int = 1) -> Path:
        """Write the rows of a day, in place of those it had, and give its first file."""
        drawn = self.table(ROWS, seed=seed or day, first=day * ROWS)
        if day >= HISTORY + DRIFT:
            delay = drawn.column_names.index("delay")
            drawn = drawn.set_column(delay, "delay", pc.add(drawn["delay"], MINUTES_LATER))
        self.days[day] = drawn
        folder = self.partition(day)
        folder.mkdir(parents=True, exist_ok=True)
        size = ROWS // files
        for place in range(files):
            rows = drawn.slice(place * size, size if place < files - 1 else ROWS)
            pq.write_table(rows, folder / f"rows-{place}.parquet")
        return folder / "rows-0.parquet"

    def serve(self, until: Callable[[], Any]) -> str:
        """Serve the project until something has happened; what `serve` said."""
        serving = self.processes.start("serve", self.project)
        deadline = time.monotonic() + PATIENCE
        try:
            while not (catches(serving.pid, signal.SIGTERM) and until()):
                assert time.monotonic() < deadline, (serving.folder / "err").read_text()
                time.sleep(2)
        finally:
            os.kill(serving.pid, signal.SIGTERM)
            ended = serving.wait(kill_after=PATIENCE)
        assert ended.code == 0, ended
        return ended.err

    def is_served(self) -> bool:
        """Whether the server knows both deployments."""
        with get_client(sync_client=True) as client:
            found = client.read_deployments()
        return sum(one.name == self.folder.name for one in found) == 2

    def run(self, flow: str, plan: Plan | None = None) -> tuple[Ended, UUID]:
        """Run a deployment's flow as `serve` does; how its process ended, and the run's id."""
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"{flow}/{self.folder.name}")
            # Pending: as if a runner had taken it already.
            run = client.create_flow_run_from_deployment(deployment.id, state=Pending()).id
        words = ("harness.scheduled:execute", run)
        started = self.processes.start(*words, roots=[self.vectors], plan=plan)
        return started.wait(kill_after=PATIENCE), run

    def state(self, run: UUID) -> tuple[str, str]:
        """Name and message of a run's state."""
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(run).state
        assert found is not None
        return str(found.name), found.message or ""

    def night(self, flow: str = "scheduled-embed") -> Made:
        """A run that must succeed; how the version that readers see now was made."""
        ended, run = self.run(flow)
        assert self.state(run)[0] == "Completed", (self.state(run), ended)
        return self.made()

    def made(self) -> Made:
        """How the version that readers see was made."""
        made = self.version().made
        assert made is not None
        return made

    def version(self) -> VersionManifest:
        """The version that readers see."""
        return open_destination(str(self.vectors)).manifest(resolve(self.vectors).run_id)

    def model(self) -> str:
        """The fingerprint of the model in production."""
        return Bundle.open(self.folder / "models" / "production").fingerprint

    def drift(self) -> DriftReport:
        """What was noted of the newest run that was looked at."""
        return notes(open_destination(str(self.vectors)))[-1]

    def require_rows(self) -> None:
        """Readers see every row of every day that has arrived, once."""
        wanted = sorted(key for day in self.days.values() for key in day["id"].to_pylist())
        found = [pq.read_table(path, columns=["id"]) for path in resolve(self.vectors).files]
        assert sorted(pa.concat_tables(found)["id"].to_pylist()) == wanted


@pytest.fixture
def processes(
    tmp_path: Path, prefect: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Processes]:
    """Processes that have imported everything, and can be killed at a call of their choice."""
    from prefect.settings import PREFECT_API_URL

    if reason := shim.missing():
        pytest.skip(reason)
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    scratch = tmp_path / "processes"
    scratch.mkdir()
    running = Processes(shim.compile_shim(scratch), scratch, IMPORTS)
    yield running
    running.close()


@pytest.fixture
def month(tmp_path: Path, processes: Processes, table: Make) -> Month:
    return begin(tmp_path / f"month-{os.getpid()}", processes, table)


def begin(folder: Path, processes: Processes, table: Make) -> Month:
    """A table of ten days, its first model in production, its vectors published."""
    folder.mkdir(exist_ok=True)
    month = Month(folder, processes, table)
    month.project.write_text(PROJECT)
    for day in range(HISTORY):
        month.arrive(day)
    said = month.serve(month.is_served)
    assert "serving scheduled-refresh" in said
    assert month.night("scheduled-refresh").computed.parts == HISTORY
    return month


def catches(pid: int, number: int) -> bool:
    """Whether a process handles a signal, told by the mask of Linux."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def parts(destination: Path) -> dict[str, str]:
    """SHA-256 of what readers of a destination open, by name."""
    return {
        Path(path).name: hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in resolve(destination).files
    }


def a_bad_file(month: Month, day: int) -> None:
    """The run fails and names it, readers keep yesterday's vectors; mending it is all there is."""
    before = parts(month.vectors)
    file = month.arrive(day)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    _, run = month.run("scheduled-embed")
    name, message = month.state(run)
    assert name == "Failed"
    assert str(file) in message
    assert parts(month.vectors) == before
    file.write_bytes(content)


def a_crash(month: Month, day: int) -> None:
    """The machine goes down in the middle; `serve` comes up with it and the run goes on."""
    before = parts(month.vectors)
    month.arrive(day, files=3)
    ended, run = month.run("scheduled-embed", Plan(Mode.KILL_AFTER, Kind.RENAME, at=3))
    assert (ended.code, month.state(run)[0]) == (KILLED, "Running"), ended
    assert ended.hit is not None
    assert "_stage" in ended.hit[1]
    assert parts(month.vectors) == before
    said = month.serve(lambda: month.state(run)[0] == "Completed")
    assert "had lost its process and goes on" in said
    made = month.made()
    assert (made.flow_run is not None, made.resumed.parts, made.computed.parts) == (True, 1, 2)


def test_thirty_nights(month: Month) -> None:
    """Every night has a partition of its own; nobody steps in, but to mend the bad file."""
    model, alarms = month.model(), []
    for night in range(DAYS):
        day = HISTORY + night
        if night == BAD:
            a_bad_file(month, day)
            continue
        if night == CRASH:
            a_crash(month, day)
        else:
            month.arrive(day)
            if night == LATE:
                month.arrive(HISTORY + CORRECTED, seed=1_000)
            made = month.night()
            new = 2 if night in (LATE, BAD + 1) else 1
            assert made.computed.parts == (new if night < DRIFT else len(month.version().files))
        month.require_rows()
        found = month.drift()
        assert found.note is None
        if found.drifted:
            assert {
                one.column for one in found.columns if one.drifted and one.kind == "number"
            } == {"delay"}
            alarms.append(night)
    assert alarms == list(range(DRIFT, DAYS))
    assert month.model() not in (model, None)
    assert month.version().model == month.model()
    from_scratch = month.folder / "from-scratch"
    production = month.folder / "models" / "production"
    for words in (
        ("embed", production, month.folder / "table", from_scratch),
        ("verify", month.vectors),
    ):
        ended = month.processes.start(*words).wait(kill_after=PATIENCE)
        assert ended.code == 0, ended
    assert parts(month.vectors) == parts(from_scratch)
