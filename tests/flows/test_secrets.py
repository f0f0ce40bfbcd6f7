"""Canaries: secrets of the environment, searched in everything that a run leaves behind."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.runners import FlowSettings
from pipeline.config import EmbeddingJob
from pipeline.errors import Parquet2VecError

Cli = Callable[..., Any]

WORD = "canary7f3a"
AUTH = f"admin:{WORD}-auth-string"
SECRETS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{WORD.upper()}",
    "AWS_SECRET_ACCESS_KEY": f"{WORD}/secret+key",
    "AWS_SESSION_TOKEN": f"{WORD}-session-token",
    "PREFECT_API_KEY": f"{WORD}-api-key",
    "PREFECT_API_AUTH_STRING": AUTH,
    "PREFECT_SERVER_API_AUTH_STRING": AUTH,
}
# A client sends the authentication string in this form.
FORMS = (WORD.encode(), WORD.upper().encode(), base64.b64encode(AUTH.encode()))

URLS = [
    f"s3://AKIA:{WORD}@lake/table",
    f"s3://lake/table?secret_key={WORD}",
    f"s3://{WORD}@lake/table",
    f"https://me:{WORD}@host/table",
    f"s3://lake/table#{WORD}",
]

# Two commands in one process share one temporary server.
DRIVER = """
import json, sys
from flows.cli import app

for words in json.loads(sys.argv[1]):
    try:
        app(words, prog_name="parquet2vec")
    except SystemExit as end:
        print("exit code", end.code, file=sys.stderr)
"""


def leaks(folder: Path, *texts: str) -> list[str]:
    """Where a secret stands: in `texts`, in a file below `folder`, or in a row of a database."""
    found = [f"printed: {text}" for text in texts if holds_secret(text.encode())]
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found += [str(path)] if holds_secret(path.read_bytes()) else []
            found += [f"{path}: {row}" for row in rows(path) if holds_secret(row.encode())]
    return found


def rows(path: Path) -> Iterable[str]:
    """The statements that make up the SQLite database at `path`; its bytes may be cut by pages."""
    if not path.read_bytes().startswith(b"SQLite format 3"):
        return []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        told = list(database.iterdump())
    database.close()
    return told


def holds_secret(data: bytes) -> bool:
    return any(form in data for form in FORMS)


def command_lines() -> list[str]:
    """Command lines of all processes, those that show a secret only."""
    told = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told.append(path.read_bytes())
        except OSError:
            continue
    return [line.decode(errors="replace") for line in told if holds_secret(line)]


class Echo(BaseHTTPRequestHandler):
    """Refuses every request and tells all that it was sent, as bad servers do."""

    def refuse(self) -> None:
        told = "".join(f"<{name}>{value}</{name}>" for name, value in self.headers.items())
        body = f"<Error><Code>InvalidAccessKeyId</Code>{told}</Error>".encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """The address of an object store that gives away what it was sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, object_store: str) -> None:
    for name, value in (SECRETS | {"AWS_ENDPOINT_URL": object_store}).items():
        monkeypatch.setenv(name, value)


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "report.html").write_text(f"<p>{WORD}</p>")
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        database.execute("create table log (message text)")
        database.execute("insert into log values (?)", ("x" * 4050 + WORD,))
    database.close()
    header = f"Authorization: Basic {base64.b64encode(AUTH.encode()).decode()}"
    assert len(leaks(tmp_path, "nothing", header)) >= 3


@pytest.mark.usefixtures("secrets")
def test_training_and_embedding_leave_no_secret(
    cli_here: Cli, source: Path, tmp_path: Path
) -> None:
    words = ["--key", "id", "--label", "late", "--ignore", "at", "--recipe", "linear", "--dim", 2]
    trained = cli_here("train", source, "--out", tmp_path / "model", *words)
    embedded = cli_here("embed", tmp_path / "model", source, tmp_path / "vectors", "--json")
    assert (trained.code, embedded.code) == (0, 0), trained.err + embedded.err
    told = [trained.out, trained.err, embedded.out, embedded.err]
    assert (tmp_path / "model" / "report" / "report.html").exists()
    assert leaks(tmp_path, *told) == []


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_refused_url_is_not_repeated_even_in_a_traceback(
    url: str, place: int, cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    words = [str(bundle), str(source), str(tmp_path / "vectors")]
    words[place] = url
    done = cli_here("embed", *words, "--debug", "--json")
    assert done.code == 2
    assert "Traceback" in done.err
    assert leaks(tmp_path, done.out, done.err) == []


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_object_store_that_tells_everything_is_not_repeated(
    place: int, cli_here: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    words = [str(bundle), str(source), str(tmp_path / "vectors")]
    words[place] = "s3://lake/table"
    done = cli_here("embed", *words, "--debug", "--json")
    assert done.code not in (0, 2)
    assert "Traceback" in done.err
    assert leaks(tmp_path, done.out, done.err) == []


@pytest.mark.flows
@pytest.mark.usefixtures("secrets", "prefect")
def test_flows_leave_no_secret_in_prefects_database(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

    from flows.runs import run_embed

    places = {"bundle": str(bundle), "destination": str(tmp_path / "vectors")}
    run_embed(EmbeddingJob(source=str(source), **places), FlowSettings())
    with pytest.raises(Parquet2VecError):
        run_embed(EmbeddingJob(source="s3://lake/table", **places), FlowSettings())
    database = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().partition("///")[2])
    assert any("s3://lake/table" in row for row in rows(database))
    assert leaks(database.parent) == []
    assert leaks(Path(PREFECT_HOME.value())) == []


@pytest.mark.slow
@pytest.mark.flows
def test_a_flow_with_a_server_of_its_own_leaves_no_secret(
    bundle: Path, source: Path, object_store: str, tmp_path: Path
) -> None:
    commands = [
        ["flow", "embed", config(tmp_path / name, bundle, where), *more]
        for name, where, more in (
            ("good", str(source), ["--json"]),
            ("refused", URLS[0], ["--debug"]),
            ("missing", str(tmp_path / "nowhere"), ["--debug"]),
            ("forbidden", "s3://lake/table", ["--debug"]),
        )
    ]
    here = {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_DATABASE_PASSWORD": f"{WORD}-database",
        "AWS_ENDPOINT_URL": object_store,
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        env={**os.environ, **SECRETS, **here, "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shown: list[str] = []
    while True:
        shown += command_lines()
        try:
            out, err = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            continue
    codes = [line for line in err.splitlines() if line.startswith("exit code")]
    assert codes[:3] == ["exit code 0", "exit code 2", "exit code 3"], err
    assert codes[3] not in ("exit code 0", "exit code 2"), err
    assert "Finished in state Completed()" in err
    assert rows(tmp_path / "home" / "prefect.db")
    (tmp_path / "refused" / "parquet2vec.toml").unlink()  # where the user wrote it
    kept = [json.loads(path.read_text()) for path in (tmp_path / "home" / "storage").iterdir()]
    assert {error["__exc_type__"] for error in kept} == {"pipeline.errors.DataError"}  # no pickle
    assert shown == []
    assert leaks(tmp_path, out, err) == []


def config(folder: Path, bundle: Path, source: str) -> str:
    folder.mkdir()
    path = folder / "parquet2vec.toml"
    path.write_text(f'[embed]\nbundle = "{bundle}"\nsource = "{source}"\ndestination = "vectors"\n')
    return str(path)
