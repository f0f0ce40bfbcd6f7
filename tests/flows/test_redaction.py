"""What the command prints: nothing a terminal obeys, no secret, and still one JSON document."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from flows.console import aligned, reporting, two_columns
from flows.redaction import SECRETS, clean_record, inert, without_secrets
from pipeline import errors
from pipeline.config import Config

CANARY = "canary-5ecret/value"
URL = f"s3://AKIA:{CANARY}@lake/t?token={CANARY}"
OBEYED = ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u2028", "\x00", "\ud800"]

Cli = Callable[..., Any]


class Answer(Config):
    name: str


def told_of(
    error: BaseException, capsys: pytest.CaptureFixture[str], **options: bool
) -> tuple[str, str]:
    settings = {"as_json": False, "debug": False, **options}
    with pytest.raises(typer.Exit), reporting(**settings):
        raise error
    told = capsys.readouterr()
    return told.out, told.err


@pytest.mark.parametrize("sequence", OBEYED)
@pytest.mark.parametrize("debug", [False, True])
def test_a_terminal_is_told_nothing_that_it_would_obey(
    sequence: str, debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError(f"column a{sequence}b")
    out, err = told_of(error, capsys, as_json=True, debug=debug)
    assert sequence not in out + err
    assert f"\\u{ord(sequence[0]):04x}" in err
    assert json.loads(out)["error"]["exit_code"] == 1


def test_a_name_cannot_forge_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = told_of(ValueError("a\nparquet2vec: all is well"), capsys)
    assert [line for line in err.splitlines() if line.startswith("parquet2vec:")] == [
        "parquet2vec: unexpected ValueError: a"
    ]


@given(st.text())
def test_an_answer_stays_the_same_document(name: str) -> None:
    document = Answer(name=name).model_dump_json(indent=2)
    assert json.loads(inert(document)) == {"name": name}
    assert not set(inert(name)) & {mark[0] for mark in OBEYED}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_result_is_told_without_what_a_terminal_obeys(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with reporting(as_json=as_json, debug=False) as report:
        report(Answer(name="a\x1b[2J\x9b"), "a\x1b[2J\x9b")
    out = capsys.readouterr().out
    assert "\\u001b[2J\\u009b" in out
    assert not set(out) & {"\x1b", "\x9b"}


def test_a_cell_stays_on_its_line() -> None:
    assert two_columns([("a\nb", "c\nd")]) == "a\\nb  c\\nd"
    assert aligned([("a\nb", "c")]) == "a\\nb  c"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        errors.PublishError(f"cannot write to {URL}"),
        ValueError(f"no such bucket: {URL}"),
        OSError(5, "Input/output error", URL),
    ],
)
def test_a_message_repeats_no_credentials(
    error: Exception, debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = told_of(error, capsys, as_json=True, debug=debug)
    assert CANARY not in out + err
    assert "s3://***@lake/t?***" in err


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_of_the_environment_is_masked(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, CANARY)
    try:
        raise ValueError(f"<AWSAccessKeyId>{CANARY}</AWSAccessKeyId>")
    except ValueError as cause:
        error = errors.PublishError(f"refused: {cause}")
        error.__cause__ = cause
    out, err = told_of(error, capsys, as_json=True, debug=True)
    assert CANARY not in out + err
    assert "refused: <AWSAccessKeyId>***<" in err


def test_a_short_value_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    assert without_secrets("the latest test") == "the latest test"


def test_a_log_record_is_cleaned_with_its_arguments() -> None:
    record = logging.LogRecord("a", 20, "f", 1, "opened %s %s", (URL, "\x1b[2J"), None)
    assert clean_record(record)
    assert record.getMessage() == "opened s3://***@lake/t?*** \\u001b[2J"


def test_a_logged_traceback_is_cleaned() -> None:
    error = ValueError(f"{URL} \x1b[2J")
    record = logging.LogRecord("a", 40, "f", 1, "failed", (), (ValueError, error, None))
    assert clean_record(record)
    told = logging.Formatter().format(record)
    assert told == "failed\nValueError: s3://***@lake/t?*** \\u001b[2J"


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "a", "b", "c", URL],
        ["embed", "a", "b", "c", "--dtype", URL],
        ["embed", "a", "b", "c", f"--{URL}"],
        ["embed", "a", "b", "c", "--threads", URL],
        [URL],
        ["flow", URL],
        ["flow", "embed", URL, URL],
        ["flow", "embed", URL],
        ["train", URL, "--out", "o"],
        ["train", "t", "--out", URL],
        ["evaluate", "b", URL, "--label", "l"],
        ["evaluate", URL, "s", "--label", "l"],
        ["embed", URL, "s", "d"],
        ["embed", "b", URL, "d"],
        ["embed", "b", "s", URL],
        ["verify", URL],
        ["rollback", URL],
        ["resolve", URL],
        ["gc", URL],
        ["inspect", URL],
    ],
)
def test_no_wrong_word_is_quoted_with_its_secret(words: list[str], cli_here: Cli) -> None:
    done = cli_here(*words)
    told = "".join(character for character in done.out + done.err if character not in "│\n ")
    assert done.code in (2, 3)
    assert CANARY not in told
    assert "Traceback" not in told
