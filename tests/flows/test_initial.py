"""`init`: a project file that says everything, loads, and runs as it is."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic.fields import FieldInfo

from flows.initial import initialise
from flows.initial import text as says
from flows.jobs import InitJob, MonitorSettings, PublishSettings, RefreshSettings
from flows.project import Project, load_project
from flows.runners import FlowSettings
from flows.schedule import FlowSchedule, Schedule
from pipeline.config import EmbeddingJob
from pipeline.errors import ConfigError, DataError
from training.spec import NetworkConfig, TrainingConfig, TrainingJob

Cli = Callable[..., Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> Path:
    """A working folder with the table `features` in it."""
    (tmp_path / "features").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(**asked: Any) -> str:
    initialise(InitJob(source="features", **asked))
    return Path(asked.get("out", "parquet2vec.toml")).read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_the_guesses_stand_in_the_file_and_labels_only_in_a_comment() -> None:
    text = written()
    project = load_project("parquet2vec.toml")
    assert project.train is not None
    assert (project.train.key, project.train.event_time) == (("id",), "at")
    assert project.train.label == ()
    assert "late" in text


TABLES: dict[str, Any] = {
    "train": TrainingJob,
    "train.training": TrainingConfig,
    "train.network": NetworkConfig,
    "embed": EmbeddingJob,
    "refresh": RefreshSettings,
    "monitor": MonitorSettings,
    "schedule": Schedule,
    "schedule.embed": FlowSchedule,
    "schedule.refresh": FlowSchedule,
    "flow": FlowSettings,
}


def plain(fields: dict[str, FieldInfo]) -> Iterator[tuple[str, FieldInfo]]:
    tables = {name.rpartition(".")[2] for name in TABLES}
    yield from ((n, f) for n, f in fields.items() if n not in {*tables, "columns", "images"})


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.usefixtures("here")
def test_every_table_and_every_field_is_there_and_explained(table: str) -> None:
    [*_, part] = re.split(rf"^\[{re.escape(table)}\]$", written(), maxsplit=1, flags=re.MULTILINE)
    part = re.split(r"^\[", part, maxsplit=1, flags=re.MULTILINE)[0]
    prose = " ".join(line.removeprefix("# ") for line in part.splitlines())
    for name, field in plain(TABLES[table].model_fields):
        assert re.search(rf"^(# )?{name} =", part, flags=re.MULTILINE), name
        assert str(field.description).rstrip(".") in prose


@pytest.mark.usefixtures("here")
def test_a_feature_store_is_shown_and_left_to_the_reader() -> None:
    text = written()
    assert load_project("parquet2vec.toml").publish is None
    said = re.sub(r"^#   (\[publish\]|feast = .*)$", r"\1", text, flags=re.MULTILINE)
    Path("told.toml").write_text(said, encoding="utf-8")
    assert load_project("told.toml").publish is not None
    for name in PublishSettings.model_fields:
        assert re.search(rf"^#   (# )?{name} =", text, flags=re.MULTILINE)


@pytest.mark.usefixtures("here")
def test_every_table_of_a_project_file_stands_in_it() -> None:
    text = written()
    for table in Project.model_fields:
        assert re.search(rf"^(#   )?\[{table}\]$", text, flags=re.MULTILINE), table


@pytest.mark.parametrize("asked", [{}, {"bundle": "model"}])
@pytest.mark.usefixtures("here")
def test_what_is_shown_as_default_is_the_default(asked: dict[str, str]) -> None:
    text = written(**asked)
    as_it_is = load_project("parquet2vec.toml")
    said = re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE)
    assert len(tomllib.loads(said)["train"]) > len(tomllib.loads(text)["train"])
    Path("all.toml").write_text(said, encoding="utf-8")
    everything = load_project("all.toml")
    assert everything.embed == as_it_is.embed
    assert everything.schedule == as_it_is.schedule
    assert everything.refresh == as_it_is.refresh
    assert everything.flow == as_it_is.flow


@pytest.mark.usefixtures("here")
def test_the_times_asked_for_are_those_of_the_schedule() -> None:
    written(cron="15 2 * * *", timezone="Europe/Berlin")
    schedule = load_project("parquet2vec.toml").schedule
    assert schedule is not None
    assert schedule.embed is not None
    assert schedule.refresh is not None
    assert (schedule.embed.cron, schedule.refresh.cron) == ("15 2 * * *", "15 4 * * 0")
    assert schedule.timezone == "Europe/Berlin"


@pytest.mark.usefixtures("here")
def test_one_bundle_needs_no_refresh() -> None:
    written(bundle="model")
    project = load_project("parquet2vec.toml")
    assert project.refresh is None
    assert project.schedule is not None
    assert project.schedule.refresh is None


def test_paths_are_said_from_the_files_folder(here: Path) -> None:
    (here / "conf").mkdir()
    written(dest="out", bundle="model", out="conf/p.toml")
    assert 'source = "../features"' in (here / "conf/p.toml").read_text()
    project = load_project("conf/p.toml")
    assert project.embed is not None
    assert os.path.normpath(project.embed.destination) == str(here / "out")


@pytest.mark.usefixtures("here")
def test_a_bundle_of_a_store_is_embedded_with_and_not_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.initial.holds", lambda *_: False)
    given = {"source": "features", "bundle": "s3://lake/model", "dest": "s3://lake/vectors"}
    assert initialise(InitJob(**given)).first_command == "parquet2vec flow embed parquet2vec.toml"
    text = Path("parquet2vec.toml").read_text()
    project = load_project("parquet2vec.toml")
    assert project.train is None
    assert "[train" not in text
    assert project.embed is not None
    assert project.embed.bundle == "s3://lake/model"


@pytest.mark.usefixtures("here")
def test_a_trained_bundle_says_what_the_keys_are(bundle: Path) -> None:
    assert initialise(InitJob(source="features", bundle=str(bundle))).event_time is None


@pytest.mark.usefixtures("here")
def test_a_file_that_is_there_is_not_touched() -> None:
    Path("parquet2vec.toml").write_text("mine")
    with pytest.raises(ConfigError, match="must be a new file"):
        written()
    assert Path("parquet2vec.toml").read_text() == "mine"


@pytest.mark.usefixtures("here")
def test_a_model_is_kept_or_renewed_and_not_both() -> None:
    with pytest.raises(ConfigError, match="one of --bundle and --models"):
        written(bundle="model", models="models")


def test_a_table_that_cannot_be_read_leaves_no_file(here: Path) -> None:
    with pytest.raises(DataError):
        initialise(InitJob(source="nowhere"))
    assert not (here / "parquet2vec.toml").exists()


NAMES = ['quo"te', "back\\slash", "new\nline", "Ø☃", "dot.ted", "# no comment", "[train]", "a b"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_column_breaks_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = pa.table({f"{name}_id": [1, 2, 3, 4], name: [1, 2, 3, 3], "x": [0.5, 1.5, 2.5, 3.5]})
    pq.write_table(table, tmp_path / "t.parquet")
    initialise(InitJob(source="t.parquet"))
    text = Path("parquet2vec.toml").read_text(encoding="utf-8")
    said = re.sub(r"^#   (\[train\.columns\..*\]|kind = .*)$", r"\1", text, flags=re.MULTILINE)
    assert tomllib.loads(said)["train"]["columns"] == {name: {"kind": "category"}}
    project = load_project("parquet2vec.toml")
    assert project.train is not None
    assert project.train.key == (f"{name}_id",)


@pytest.mark.parametrize(
    "words",
    [
        ["--cron", "daily"],
        ["--cron", "0 3 * *"],
        ["--cron", "0 3 * * *; rm"],
        ["--timezone", "Mars/Olympus"],
        ["--timezone", "../../etc/passwd"],
    ],
)
@pytest.mark.usefixtures("here")
def test_times_that_are_none_are_refused(words: list[str], cli_here: Cli) -> None:
    done = cli_here("init", "features", *words)
    assert done.code == 2
    assert not Path("parquet2vec.toml").exists()


@pytest.mark.slow
@pytest.mark.flows
def test_the_file_runs_as_it_is(here: Path, cli: Cli) -> None:
    assert cli("init", "features", "--bundle", "model", cwd=here).code == 0
    trained = cli("flow", "train", "parquet2vec.toml", cwd=here)
    assert trained.code == 0, trained.err
    embedded = cli("flow", "embed", "parquet2vec.toml", "--json", cwd=here)
    assert embedded.code == 0, embedded.err
    assert embedded.document["rows"] == 800


def test_a_table_without_rows_is_refused_and_no_file_is_written(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "empty.parquet")
    out = tmp_path / "parquet2vec.toml"
    with pytest.raises(DataError, match="must have rows to guess from, found none; give a table"):
        initialise(InitJob(source=str(tmp_path), out=str(out)))
    assert not out.exists()


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of pictures with columns that no model takes as they are, and no clear key."""
    monkeypatch.chdir(tmp_path)
    rows = 30
    table = pa.table(
        {
            "patient": [f"P{row}" for row in range(rows)],
            "photo": pa.array([[0] * 12] * rows, pa.list_(pa.uint8(), 12)),
            "embedding": pa.array([[0.5] * 2] * rows, pa.list_(pa.float32(), 2)),
            "note": pa.nulls(rows, pa.string()),
            "x": [row / 7 for row in range(rows)],
        }
    )
    for day in ("2026-01-01", "2026-01-02"):
        folder = tmp_path / "odd" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "part.parquet")
    return tmp_path


def test_what_cannot_be_a_feature_is_left_out_and_why_stands_beside_it(odd: Path) -> None:
    result = initialise(InitJob(source="odd", bundle="model"))
    text = (odd / "parquet2vec.toml").read_text(encoding="utf-8")
    project = load_project("parquet2vec.toml")
    assert project.train is not None
    assert project.train.ignore == result.ignored == ("embedding", "note")
    for line in (
        '#   "photo"      vector (fixed_size_list<element: uint8>[12]), an image if it is pixels',
        '#   "embedding"  ignored: it has the name of an output',
        '#   "note"       ignored: only nulls',
        '#   "day"        ignored: dates as text are no feature',
    ):
        assert line in text
    prose = " ".join(line.removeprefix("# ") for line in text.splitlines())
    assert '["embedding"] have the name of an output, rename them to use them' in prose


def test_a_column_that_may_be_the_key_is_named(odd: Path) -> None:
    result = initialise(InitJob(source="odd", bundle="model"))
    assert (result.key, result.key_candidates) == ((), ("patient",))
    assert "none was guessed, perhaps patient" in says(result)
    lines = (odd / "parquet2vec.toml").read_text(encoding="utf-8").splitlines()
    prose = " ".join(line.removeprefix("# ") for line in lines)
    assert "none was guessed, perhaps patient" in prose
    assert result.first_command == "parquet2vec train --config parquet2vec.toml"
