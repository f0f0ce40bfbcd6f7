import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import typer
from typer.core import TyperGroup

from flows.console import reporting
from pipeline import errors
from pipeline.config import Config


class Answer(Config):
    rows: int = 3


def ended_with(error: BaseException, **options: bool) -> int:
    settings = {"as_json": False, "debug": False, **options}
    with pytest.raises(typer.Exit) as caught, reporting(**settings):
        raise error
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.SchemaError("x"), 3),
        (errors.DataError("x"), 3),
        (errors.BundleError("x"), 3),
        (errors.DestinationError("x"), 3),
        (errors.LockedError("x"), 4),
        (errors.ParityError("x"), 1),
        (errors.PublishError("x"), 1),
        (OSError(28, "No space left on device"), 1),
        (ValueError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert ended_with(error) == code


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    ended_with(errors.DataError("file.parquet is truncated; copy it again"))
    told = capsys.readouterr()
    assert told.err == "parquet2vec: file.parquet is truncated; copy it again\n"
    assert told.out == ""


def test_an_interrupt_says_whether_the_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    ended_with(KeyboardInterrupt(), resumes=True)
    assert "same command again goes on where it stopped" in capsys.readouterr().err
    ended_with(KeyboardInterrupt())
    assert "same command again begins anew" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    ended_with(errors.DataError("x"), debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_an_error_is_one_json_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    ended_with(errors.LockedError("held"), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "error": {"type": "LockedError", "message": "held", "exit_code": 4}
    }


def test_whatever_work_prints_stays_off_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reporting(as_json=True, debug=False) as report:
        print("chatter of a library")
        report(Answer(), "three rows")
    told = capsys.readouterr()
    assert json.loads(told.out) == {"rows": 3}
    assert "chatter" in told.err


def test_a_missing_package_names_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    ended_with(ModuleNotFoundError("No module named 'prefect'", name="prefect.flows"))
    assert "parquet2vec[flows]" in capsys.readouterr().err


def test_an_interrupted_import_of_a_compiled_module_is_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    assert ended_with(error) == 130
    assert "interrupted" in capsys.readouterr().err


def interrupted(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def test_an_interrupt_before_a_command_has_begun_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import cli, start

    monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "parquet2vec: interrupted before anything was done\n"


@pytest.mark.parametrize("step", ["make_context", "invoke"])
def test_an_interrupt_while_words_are_read_is_one_line(
    step: str, monkeypatch: pytest.MonkeyPatch, cli_here: Callable[..., Any]
) -> None:
    monkeypatch.setattr(TyperGroup, step, interrupted)
    done = cli_here("init", "table")
    assert (done.code, done.err) == (130, "parquet2vec: interrupted\n")
