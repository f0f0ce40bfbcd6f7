"""What `serve` decides, without a server: turns, tries, missed and orphaned runs, deployments."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from prefect import settings
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Failed, Pending, Running, Scheduled

from flows import automations, overlap, scheduled, zombies
from flows import serving_runner as serving_runner_module
from flows.automations import MOST_STARTS
from flows.deploy import deployments
from flows.project import load_project
from flows.schedule import FlowSchedule, RunPolicy
from flows.server import require_answer
from flows.serving import environment, serve_project
from flows.serving_runner import ServingRunner, StayingObserver, staying
from pipeline.config import Config, EmbeddingJob, parse
from pipeline.errors import ConfigError, DataError, LockedError, ServerError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

PROJECT = """
[train]
source = "features"
out = "model"

[embed]
bundle = "model"
source = "features"
destination = "s3://lake/vectors"

[refresh]
models = "models"
"""


def project_file(folder: Path, text: str) -> Path:
    path = folder / "shop" / "parquet2vec.toml"
    path.parent.mkdir()
    path.write_text(PROJECT + text, encoding="utf-8")
    return path


def deployed(folder: Path, text: str) -> dict[str, Any]:
    path = project_file(folder, text)
    return {one.flow_name: one for one in deployments(load_project(path), path)}


BOTH = """
[schedule]
timezone = "Europe/Berlin"
[schedule.embed]
cron = "0 3 * * *"
timeout = "6h"
[schedule.refresh]
cron = "0 5 * * 0"
paused = true
"""


def test_a_deployment_says_when_where_and_what(tmp_path: Path) -> None:
    found = deployed(tmp_path, BOTH)
    embed, refresh = found["scheduled-embed"], found["scheduled-refresh"]
    assert embed.name == refresh.name == "shop"
    assert embed.entrypoint == "flows.scheduled.scheduled_embed"
    assert "to s3://lake/vectors" in embed.tags
    assert embed.tags == refresh.tags
    [schedule] = embed.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
    assert (embed.paused, refresh.paused) == (False, True)


def test_the_parameters_of_a_deployment_are_plain_and_its_paths_absolute(tmp_path: Path) -> None:
    parameters = deployed(tmp_path, BOTH)["scheduled-embed"].parameters
    assert parameters["job"]["source"] == str(tmp_path / "shop" / "features")
    assert parse(EmbeddingJob, parameters["job"]).destination == "s3://lake/vectors"
    assert parse(RunPolicy, parameters["policy"]).timeout == "6h"


def test_prefect_refuses_what_the_job_refuses(tmp_path: Path) -> None:
    schema = deployed(tmp_path, BOTH)["scheduled-embed"]._parameter_openapi_schema
    job = schema.definitions["EmbeddingJob"]
    assert job["additionalProperties"] is False
    assert {"bundle", "source", "destination"} <= set(job["required"])
    assert all(field["description"] for field in job["properties"].values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have a table \[schedule\], found none"),
        ("[schedule]\n", r"must have \[schedule.embed\] or \[schedule.refresh\], found neither"),
        ('[schedule.embed]\ncron = "99 3 * * *"\n', r"must name times, found '99 3 \* \* \*'"),
        ('[schedule.embed]\ncron = "0 0 30 2 *"\n', r"must name times, found '0 0 30 2 \*'"),
        ('[schedule.embed]\ncron = "0 3 * * *"\ntimeout = "0s"\n', r"timeout: more than 0s is"),
        ('[schedule.embed]\ncron = "daily"\n', r"\$\.schedule\.embed\.cron: five fields"),
        ('[schedule.embed]\ncron = "0 3 * * *"\nretry = 1\n', r"\$\.schedule\.embed\.retry: unkn"),
        ('[schedule]\ntimezone = "Berlin"\n', r"\$\.schedule\.timezone: a time zone such as"),
        ('[schedule]\nname = "a/b"\n', r"\$\.schedule\.name"),
    ],
)
def test_a_schedule_that_never_fires_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        deployed(tmp_path, text)


def test_serve_needs_a_server_that_lasts(tmp_path: Path) -> None:
    path = project_file(tmp_path, BOTH)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match=r"found no PREFECT_API_URL; start one with"),
    ):
        serve_project(load_project(path), path)


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ServerError, match=r"must answer at http://127\.0\.0\.1:9/api, found none"),
    ):
        require_answer()


# ---------------------------------------------------------------- tries


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept, at once."""
    slept: list[float] = []
    monkeypatch.setattr(scheduled.time, "sleep", slept.append)
    monkeypatch.setattr(scheduled, "get_run_logger", lambda: SimpleNamespace(warning=print))
    return slept


def failing(*errors: Exception) -> Callable[[int], str]:
    left = list(errors)

    def work(_attempt: int) -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_a_failed_try_is_followed_by_another(naps: list[float]) -> None:
    work = failing(DataError("still on its way"), TimeoutError())
    assert scheduled._with_retries(RunPolicy(retries=2), work) == "done"
    assert len(naps) == 2


def test_after_the_last_try_the_error_stands(naps: list[float]) -> None:
    with pytest.raises(DataError, match="second"):
        scheduled._with_retries(RunPolicy(retries=1), failing(*map(DataError, ("first", "second"))))
    assert len(naps) == 1


def test_a_wrong_configuration_is_not_tried_again(naps: list[float]) -> None:
    with pytest.raises(ConfigError):
        scheduled._with_retries(RunPolicy(), failing(ConfigError("wrong")))
    assert naps == []


@pytest.mark.parametrize(("policy", "naps_taken"), [("skip", 0), ("wait", 1)])
def test_a_held_destination_is_waited_for_only_if_asked(
    policy: Any, naps_taken: int, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduled, "await_turn", lambda _: None)
    monkeypatch.setattr(scheduled, "prepare_logs", lambda: None)
    answer = scheduled._in_turn(RunPolicy(overlap=policy), failing(LockedError("held")))
    assert len(naps) == naps_taken
    if policy == "skip":
        assert (answer.name, answer.type.value) == ("Skipped", "COMPLETED")  # type: ignore[union-attr]
    else:
        assert answer == "done"


def test_chance_adds_to_the_delay_up_to_its_share() -> None:
    policy = RunPolicy(retry_delay="100s", retry_jitter=0.5)
    drawn = [scheduled.jittered(policy) for _ in range(200)]
    assert 100 <= min(drawn) < 110
    assert 140 < max(drawn) <= 150


# ---------------------------------------------------------------- turns

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def run_at(minute: int, **fields: Any) -> FlowRun:
    begun = NOON + timedelta(minutes=minute)
    known = {"flow_id": uuid4(), "tags": ["to there"], "start_time": begun, "state": Running()}
    return FlowRun(**{**known, "expected_start_time": begun, **fields})


Turn = Callable[..., list[float]]


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Turn:
    """Waits for the turn of `own`, while the server shows one list of runs after the other."""

    def wait(own: FlowRun, *looks: list[FlowRun], policy: Any = "skip") -> list[float]:
        shown, naps = iter(looks), list[float]()
        context = SimpleNamespace(flow_run=own)
        monkeypatch.setattr(overlap.FlowRunContext, "get", lambda: context)
        monkeypatch.setattr(overlap, "_running", lambda tags: next(shown))
        monkeypatch.setattr(overlap.time, "sleep", naps.append)
        monkeypatch.setattr(overlap, "get_run_logger", lambda: SimpleNamespace(info=print))
        overlap.await_turn(policy)
        return naps

    return wait


def test_the_first_run_goes_on_and_the_second_does_not(turn: Turn) -> None:
    first, second = run_at(0), run_at(1)
    assert turn(first, [first, second]) == []
    with pytest.raises(overlap.Taken, match=first.name):
        turn(second, [first, second])


def test_of_two_that_began_together_one_goes_on(turn: Turn) -> None:
    pair = [run_at(0), run_at(0)]
    taken = []
    for own in pair:
        try:
            turn(own, pair)
        except overlap.Taken:
            taken.append(own)
    assert len(taken) == 1


def test_a_run_that_waits_goes_on_when_the_other_ended(turn: Turn) -> None:
    first, second = run_at(0), run_at(1)
    looks = [first, second], [first, second], [second]
    assert len(turn(second, *looks, policy="wait")) == 2


def test_only_the_newest_run_waits(turn: Turn) -> None:
    first, second, third = run_at(0), run_at(1), run_at(2)
    with pytest.raises(overlap.Taken, match="a newer run waits"):
        turn(second, [first, second, third], policy="wait")
    assert len(turn(third, [first, second, third], [third], policy="wait")) == 1


def test_a_run_without_a_destinations_tag_asks_nobody(turn: Turn) -> None:
    assert turn(run_at(0, tags=["mine"])) == []


# ---------------------------------------------------------------- runs that nobody ended


class FakeClient:
    """The server's flow runs, as far as they are asked for."""

    def __init__(self, *runs: FlowRun, children: dict[UUID, list[FlowRun]] | None = None) -> None:
        self.runs = {run.id: run for run in runs}
        self.children = children or {}
        self.states: dict[UUID, Any] = {}
        self.labels: dict[UUID, dict[str, str]] = {}

    async def update_flow_run_labels(self, run: UUID, labels: dict[str, str]) -> None:
        self.labels[run] = labels

    async def read_flow_runs(self, *, flow_run_filter: Any, **_: Any) -> list[FlowRun]:
        parents = flow_run_filter.parent_flow_run_id
        if parents is not None:
            return [run for parent in parents.any_ for run in self.children.get(parent, [])]
        wanted = flow_run_filter.state.type.any_
        return [run for run in self.runs.values() if self._type(run) in wanted]

    def _type(self, run: FlowRun) -> Any:
        state = self.states.get(run.id, run.state)
        return state.type

    async def set_flow_run_state(self, run: UUID, state: Any, *, force: bool) -> None:
        assert force
        self.states[run] = state

    async def read_flow_run(self, run: UUID) -> FlowRun:
        return self.runs[run]

    def names(self) -> dict[UUID, str]:
        return {run: state.name for run, state in self.states.items()}


def done(work: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await work

    return asyncio.run(wait())


def test_runs_whose_process_is_gone_go_on_and_the_others_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive, gone, waiting = run_at(0), run_at(1), run_at(2, state=Pending())
    ended, due = run_at(3, state=Completed()), run_at(4, state=Scheduled())
    monkeypatch.setattr(zombies, "running_here", lambda: {alive.id})
    client: Any = FakeClient(alive, gone, waiting, ended, due)
    again = done(zombies.end_orphans(client, [uuid4()]))
    assert client.names() == {gone.id: "AwaitingRetry", waiting.id: "AwaitingRetry"}
    assert {run.id for run in again} == set(client.states)


def test_runs_of_another_machine_are_left_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    own = run_at(0, labels={zombies.HOST: socket.gethostname()})
    others, unsigned = run_at(1, labels={zombies.HOST: "elsewhere"}), run_at(2)
    monkeypatch.setattr(zombies, "running_here", set)
    client: Any = FakeClient(own, others, unsigned)
    assert done(zombies.end_orphans(client, [uuid4()])) == [own, unsigned]
    assert others.id not in client.states


def test_a_run_goes_on_three_times_at_most_and_a_cancelled_one_never() -> None:
    tired = run_at(0, run_count=MOST_STARTS)
    fresh = run_at(1, run_count=MOST_STARTS - 1)
    cancelled = run_at(2, state=Cancelling())
    client: Any = FakeClient()
    again = done(zombies.send_back(client, [tired, fresh, cancelled], why="stopped"))
    assert client.names() == {
        tired.id: "Crashed",
        fresh.id: "AwaitingRetry",
        cancelled.id: "Cancelled",
    }
    assert again == [fresh]


def test_what_a_lost_run_had_called_is_ended_with_it() -> None:
    run, child, grandchild, finished = (run_at(minute) for minute in range(4))
    finished.state = Completed()
    client: Any = FakeClient(children={run.id: [child, finished], child.id: [grandchild]})
    done(zombies.send_back(client, [run], why="stopped"))
    assert client.names() == {
        run.id: "AwaitingRetry",
        child.id: "Crashed",
        grandchild.id: "Crashed",
    }


def test_of_missed_runs_each_deployments_newest_stays() -> None:
    one, other = uuid4(), uuid4()
    late = [
        run_at(minute, deployment_id=deployment, state=Scheduled(), auto_scheduled=True)
        for minute, deployment in [(4, one), (3, other), (2, one), (1, one)]
    ]
    by_hand = run_at(0, deployment_id=one, state=Scheduled())
    client: Any = FakeClient(*late, by_hand)
    skipped = done(zombies.skip_missed(client, [one, other]))
    assert client.names() == {late[2].id: "Missed", late[3].id: "Missed"}
    assert len(skipped) == 2


def test_a_process_is_known_by_the_run_in_its_environment(tmp_path: Path) -> None:
    run = uuid4()
    for pid, content in [
        ("12", b"HOME=/\0PREFECT__FLOW_RUN_ID=" + str(run).encode() + b"\0"),
        ("13", b"PREFECT__FLOW_RUN_ID=none\0"),
        ("14", b"HOME=/\0"),
        ("self", b"PREFECT__FLOW_RUN_ID=" + str(uuid4()).encode()),
    ]:
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "environ").write_bytes(content)
    assert zombies.running_here(tmp_path) == {run}
    assert zombies.running_here(tmp_path / "nowhere") == set()


def answering(*answers: Exception | None) -> Callable[[], Awaitable[None]]:
    left = list(answers)

    async def poll() -> None:
        if error := left.pop(0):
            raise error

    return poll


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://prefect/api")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code))


def test_a_server_that_is_away_is_told_once_and_so_is_its_return() -> None:
    said: list[str] = []
    away = httpx.ConnectError("refused")
    poll = staying(answering(None, away, status(503), away, None, None), said.append)  # type: ignore[arg-type]
    for _ in range(6):
        done(poll())
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "answers again" in said[1]


@pytest.mark.parametrize("error", [status(401), status(404), RuntimeError("ours")])
def test_what_waiting_does_not_mend_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        done(staying(answering(error))())  # type: ignore[arg-type]


def serving_runner(known: FlowRun) -> tuple[ServingRunner, FakeClient]:
    runner, client = ServingRunner(pause_on_shutdown=False), FakeClient(known)
    runner._client = client  # type: ignore[assignment]
    return runner, client


def test_a_run_whose_process_died_starts_again_twice_and_then_is_given_up() -> None:
    run = run_at(0)
    runner, client = serving_runner(run)
    given_up: list[str] = []

    async def give_up(_run: FlowRun, message: str) -> None:
        given_up.append(message)

    crashed = runner._starting_again(give_up)
    for start in range(MOST_STARTS):
        done(crashed(run, "exit code 1"))
        assert len(given_up) == (start == MOST_STARTS - 1)
    assert client.names() == {run.id: "AwaitingRetry"}


@pytest.mark.parametrize("ended", [Completed(), Cancelled(), Failed()], ids=str)
def test_a_run_that_ended_before_its_process_died_stays_ended(ended: Any) -> None:
    run = run_at(0, state=ended)
    runner, client = serving_runner(run)
    done(runner._starting_again(lambda *_: pytest.fail("gave up"))(run, "exit code 1"))
    assert client.states == {}


def test_a_serve_that_stops_starts_nothing_again() -> None:
    run, given_up = run_at(0), []
    runner, client = serving_runner(run)
    runner.stopping = True

    async def give_up(_run: FlowRun, message: str) -> None:
        given_up.append(message)

    done(runner._starting_again(give_up)(run, "SIGTERM"))
    assert (given_up, client.states) == (["SIGTERM"], {})


@pytest.mark.parametrize("claimed", [True, False])
def test_a_run_that_was_claimed_says_on_which_machine(claimed: bool) -> None:
    run = run_at(0)
    runner, client = serving_runner(run)

    async def claim(_run: FlowRun) -> bool:
        return claimed

    assert done(runner._signing(claim)(run)) is claimed
    assert client.labels == ({run.id: {zombies.HOST: socket.gethostname()}} if claimed else {})


def test_a_serve_that_stops_gives_back_only_what_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    own, others = run_at(0), run_at(1)
    runner, _ = serving_runner(own)

    async def at_work(*_: object) -> list[FlowRun]:
        return [own, others]

    async def stop() -> None:
        """Prefect's part."""

    monkeypatch.setattr(serving_runner_module, "at_work", at_work)
    monkeypatch.setattr(serving_runner_module, "get_client", nothing)
    monkeypatch.setattr(runner, "_deployment_registry", SimpleNamespace(get_deployment_ids=list))
    poller = SimpleNamespace(_submitting_flow_run_ids={own.id})
    monkeypatch.setattr(runner, "_scheduled_run_poller", poller, raising=False)
    monkeypatch.setattr(runner, "astop", stop)
    done(runner._end())
    assert runner.interrupted == (own,)


@contextlib.asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


def test_the_server_starts_again_what_serve_would() -> None:
    """Fewer starts than the most, a lost process, one of our deployments' runs."""
    made: list[Any] = []

    class Client:
        async def read_automations_by_name(self, _name: str) -> list[Any]:
            return []

        async def create_automation(self, automation: Any) -> None:
            made.append(automation)

    done(automations.watch(Client()))  # type: ignore[arg-type]
    silent, again = made
    assert again.trigger.match["prefect.run-count"] == ["1", "2"]
    [told] = [action.message for action in silent.actions]
    assert any(told.startswith(t.rstrip("*")) for t in again.trigger.match["prefect.state-message"])


def test_a_serve_that_is_stopped_before_it_began_just_ends() -> None:
    with pytest.raises(SystemExit) as ended:
        ServingRunner(pause_on_shutdown=False).handle_sigterm()
    assert ended.value.code is None


# ---------------------------------------------------------------- recipes


def fields_of(model: type[Config], text: str) -> dict[str, Any]:
    return {name: value for name, value in model.model_fields.items() if f"{name} =" in text}


def test_the_how_to_shows_every_field_of_a_schedule(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "schedules.md").read_text(encoding="utf-8")
    example = page.split("## The tables")[1].split("```toml\n")[1].split("```")[0]
    path = tmp_path / "parquet2vec.toml"
    path.write_text(example, encoding="utf-8")
    assert load_project(path).schedule is not None
    assert set(fields_of(FlowSchedule, page)) == set(FlowSchedule.model_fields)


@pytest.mark.parametrize("name", ["compose.yaml", *(p.name for p in DEPLOY.glob("*.service"))])
def test_every_setting_of_a_recipe_is_one_of_prefects(name: str) -> None:
    words = (DEPLOY / name).read_text(encoding="utf-8").replace("=", " ").replace(":", " ").split()
    # PREFECT_AUTH is the name that the compose file itself asks for.
    said = {w.strip('"') for w in words if w.startswith("PREFECT_")} - {"PREFECT_AUTH"}
    assert said
    assert [word for word in said if not hasattr(settings, word)] == []


def test_the_server_of_the_compose_file_is_closed() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    settings = services["server"]["environment"]
    assert settings["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH:?")
    assert settings["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert [port for port in services["server"]["ports"] if not port.startswith("127.0.0.1:")] == []
    assert "ports" not in services["database"]


def test_what_a_worker_must_find_goes_with_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter2")
    found = environment()
    assert found["PYTHONSAFEPATH"] == "1"
    assert "hunter2" not in str(found)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda path: path.stem)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, command: str, tmp_path: Path) -> None:
    text = unit.read_text(encoding="utf-8").replace(
        "/opt/parquet2vec/bin", str(Path(command).parent)
    )
    checked = tmp_path / unit.name
    checked.write_text(text, encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", str(checked)], capture_output=True, text=True
    )
    ours = [line for line in found.stderr.splitlines() if unit.name in line]
    assert (found.returncode, ours) == (0, [])


def test_the_look_out_for_cancelled_runs_outlives_an_absence() -> None:
    observer = StayingObserver(on_cancelling=lambda _: None)
    observer._client = SimpleNamespace(  # type: ignore[assignment]
        read_flow_runs=lambda **_: answering(httpx.ConnectError("refused"))()
    )
    done(observer._check_for_cancelled_flow_runs())
