"""How a command ends: a result on standard output, or one message and an exit code."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows import logs
from flows.redaction import inert, without_secrets
from pipeline.config import Config
from pipeline.errors import Parquet2VecError, printable

INTERRUPTED = 130
MAX_WIDTH = 100

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ProjectFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Project file, such as parquet2vec.toml.")
]

Report = Callable[[Config, str], None]


class Commands(TyperGroup):
    """The commands; typer quotes a wrong word in its own message, and that word may be a secret.

    It also keeps silent when it is interrupted.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the group's own words."""
        with _telling_interrupts(), _cleaning_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """What the command answers, whose words are read here."""
        with _telling_interrupts(), _cleaning_usage_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _telling_interrupts() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        # What a command does is told by `reporting`: this one had not begun, or had ended.
        logs.say_failed(error, "interrupted", exit_code=INTERRUPTED, traceback=None)
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def _cleaning_usage_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = printable(without_secrets(message))  # type: ignore[attr-defined]
        raise


@contextlib.contextmanager
def reporting(*, as_json: bool, debug: bool, resumes: bool = False) -> Iterator[Report]:
    """Gives the function that prints the command's result; turns an error into its exit code.

    Whatever else is printed meanwhile goes to standard error, so that standard output holds the
    result and nothing but the result. A command that `resumes` goes on where it was interrupted;
    the others begin anew.
    """
    out = sys.stdout

    def report(result: Config, text: str) -> None:
        answer = result.model_dump_json(indent=2) if as_json else text
        print(inert(answer), file=out, flush=True)

    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield report
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, typer.Exit | typer.BadParameter):
            raise
        error = _interrupt_in(error) or error
        if as_json:
            print(
                json.dumps({"error": _document(error, resumes=resumes)}, indent=2),
                file=out,
                flush=True,
            )
        logs.say_failed(
            error,
            _message(error, resumes=resumes),
            exit_code=exit_code(error),
            traceback="".join(traceback.format_exception(error)) if debug else None,
        )
        raise typer.Exit(exit_code(error)) from None


def _interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that `error` came of: a compiled module says that it could not be imported."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return cause
        cause = cause.__cause__
    return None


def exit_code(error: BaseException) -> int:
    """0 done · 1 failed · 2 usage · 3 input refused · 4 locked · 130 interrupted."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_code if isinstance(error, Parquet2VecError) else 1


def _message(error: BaseException, *, resumes: bool) -> str:
    """One message: what was required, what was found, what to do.

    Only its first line begins at the margin, so that no name in it can pass for a message.
    """
    return inert(without_secrets(_explanation(error, resumes=resumes))).replace("\n", "\n  ")


def _explanation(error: BaseException, *, resumes: bool) -> str:
    if isinstance(error, KeyboardInterrupt):
        again = "goes on where it stopped" if resumes else "begins anew"
        return f"interrupted; the same command again {again}"
    if isinstance(error, Parquet2VecError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return (
            "memory ran out; what was published before is untouched: give the process more, or "
            "smaller --memory and --threads, and run it again"
        )
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}; run again with --debug and report it"


def _missing_package(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    extra = "flows" if package == "prefect" else "train"
    return f"this command needs {package}, not found; pip install 'parquet2vec[{extra}]'"


def _document(error: BaseException, *, resumes: bool) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": _message(error, resumes=resumes),
        "exit_code": exit_code(error),
    }


def two_columns(rows: list[tuple[str, str]]) -> str:
    """Lines of ``name  value`` with the values aligned, and wrapped between words.

    >>> print(two_columns([("bundle", "model"), ("dim", "8")]))
    bundle  model
    dim     8
    """
    rows = [(printable(name), printable(value)) for name, value in rows]
    indent = 2 + max((len(name) for name, _ in rows), default=0)
    lines: list[str] = []
    for name, value in rows:
        wrapped = textwrap.wrap(
            value, MAX_WIDTH - indent, break_long_words=False, break_on_hyphens=False
        )
        lines.append(f"{name:<{indent}}{(wrapped or [''])[0]}".rstrip())
        lines += [f"{'':<{indent}}{rest}" for rest in wrapped[1:]]
    return "\n".join(lines)


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells as lines, every column as wide as its widest cell.

    >>> print(aligned([("a", "bb"), ("ccc", "d")]))
    a    bb
    ccc  d
    """
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def examples(*lines: str) -> str:
    """The foot of a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"$ parquet2vec {line}" for line in lines)
