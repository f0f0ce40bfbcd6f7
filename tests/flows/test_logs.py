"""Logs as JSON lines: what collectors rely on, and what must never be in them."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import logs
from flows.console import reporting
from flows.progress import Events, console_progress
from pipeline.errors import DataError
from pipeline.events import LOGGER, about, tell

Cli = Callable[..., Any]
CANARY = "canary-5ecret/value"


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logs are JSON in this process, and again what they were afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    handlers, level = [*root.handlers], ours.level
    monkeypatch.setenv(logs.LOG_FORMAT, "json")
    logs.prepare()
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("as_json")
def test_an_event_is_one_object_with_time_level_and_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with about(run_id="r1", destination="out"):
        tell("part finished", rows=5, seconds=0.25, file="a.parquet")
    [told] = lines(capsys)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "info",
        "event": "part finished",
        "run_id": "r1",
        "destination": "out",
        "rows": 5,
        "seconds": 0.25,
        "file": "a.parquet",
    }


@pytest.mark.usefixtures("as_json")
def test_what_others_log_is_a_line_with_its_logger(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("elsewhere").warning("lost %s", "it")
    [told] = lines(capsys)
    assert (told["event"], told["logger"], told["level"]) == ("lost it", "elsewhere", "warning")


@pytest.mark.usefixtures("as_json")
def test_no_name_breaks_a_line_and_no_secret_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    tell("read", file=f'a\n"b\x1b[2J\u202e{CANARY}', url=f"s3://me:{CANARY}@lake/t")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert not {"\x1b", "\u202e"} & set(err)
    assert CANARY not in err
    assert json.loads(err)["file"] == 'a\n"b\x1b[2J\u202e***'


@pytest.mark.usefixtures("as_json")
@pytest.mark.parametrize("debug", [False, True])
def test_a_failure_is_one_line_with_the_run_that_failed(
    capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    with pytest.raises(BaseException), reporting(as_json=False, debug=debug), about(run_id="r1"):  # noqa: B017
        raise DataError("file a.parquet is cut")
    [told] = lines(capsys)
    assert (told["level"], told["event"], told["run_id"]) == ("error", "failed", "r1")
    assert (told["error"], told["exit_code"]) == ("DataError", 3)
    assert "a.parquet is cut" in told["message"]
    assert ("Traceback" in told.get("traceback", "")) is debug


@pytest.mark.usefixtures("as_json")
def test_progress_is_told_as_events(capsys: pytest.CaptureFixture[str]) -> None:
    with console_progress(io.StringIO()) as progress:
        assert isinstance(progress, Events)
        progress.start("rows", 10)
        progress.advance(10, loss=0.5)
        progress.finish()
    [told] = lines(capsys)
    assert (told["event"], told["what"], told["done"], told["total"]) == (
        "progress",
        "rows",
        10,
        10,
    )
    assert told["loss"] == 0.5
    assert told["per_second"] > 0


def test_without_the_option_words_stay_as_they_were(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(logs.LOG_FORMAT, raising=False)
    logs.say("serving it")
    with about(run_id="r1"):
        tell("part finished")
    assert capsys.readouterr().err == "parquet2vec: serving it\n"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_every_line_of_a_run_is_json_and_has_its_run_id(
    cli: Cli, bundle: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    words = ["embed", bundle, source, tmp_path / "out", "--json"]
    if how == "environment":
        monkeypatch.setenv(logs.LOG_FORMAT, "json")
    else:
        words = ["--log-format", "json", *words]
    done = cli(*words)
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.err.splitlines()]
    assert {one["run_id"] for one in told} == {done.document["run_id"]}
    events = [one["event"] for one in told]
    assert events[0] == "run started"
    assert events[-1] == "run finished"
    assert {"part finished", "progress", "version published"} <= set(events)


@pytest.mark.flows
@pytest.mark.usefixtures("prefect")
def test_prefect_keeps_the_events_with_their_flow_run(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.logging.handlers import APILogHandler

    from flows.runners import FlowSettings
    from flows.runs import run_embed
    from pipeline.config import EmbeddingJob
    from pipeline.destinations import open_destination

    job = EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / "out"))
    run_id = run_embed(job, FlowSettings()).run_id
    made = open_destination(tmp_path / "out").manifest(run_id).made
    assert made is not None
    # Not by the run id alone: another test may embed the same table by the same model.
    of_the_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[made.flow_run]))
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        kept = [
            record
            for record in client.read_logs(of_the_run)
            if record.name == LOGGER and run_id[:8] in record.message
        ]
    told = " ".join(record.message for record in kept)
    assert "part finished" in told
    assert "version published" in told
