"""Logs of a command: words for people, or one JSON object a line for whatever collects them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

from flows.redaction import clean_record, inert, without_secrets
from pipeline.events import LOGGER, Fact, facts_of, tell

LogFormat: TypeAlias = Literal["text", "json"]
# Child processes, such as the runs that `serve` starts, read it too.
LOG_FORMAT = "PARQUET2VEC_LOG_FORMAT"

# What Prefect notes on records of a flow run, and is worth a field.
_PREFECTS = ("flow_run_id", "flow_run_name", "flow_name", "task_run_id", "task_run_name")


def set_up(given: LogFormat) -> None:
    """Log in the format that was `given`, in this process and those it starts."""
    os.environ[LOG_FORMAT] = given
    prepare()


def is_json() -> bool:
    """Whether standard error is to hold JSON lines."""
    return os.environ.get(LOG_FORMAT) == "json"


def prepare() -> None:
    """Let our events be heard, and cleaned; again when Prefect has set up handlers of its own."""
    ours, root = logging.getLogger(LOGGER), logging.getLogger()
    ours.setLevel(logging.INFO)
    if clean_record not in ours.filters:
        ours.addFilter(clean_record)
    for handler in [*root.handlers]:
        if isinstance(handler, JsonHandler) or (is_json() and _is_console(handler)):
            root.removeHandler(handler)
    if is_json():
        root.addHandler(JsonHandler())


def _is_console(handler: logging.Handler) -> bool:
    """Whether a handler writes to the screen: Python's own, or Prefect's."""
    return type(handler) is logging.StreamHandler or (
        isinstance(handler, logging.StreamHandler)
        and type(handler).__module__.startswith("prefect.")
    )


def say(line: str, *, level: int = logging.INFO) -> None:
    """Tell whoever runs the command one line, in the format of the logs."""
    if is_json():
        tell(line, level=level)
    else:
        print(f"parquet2vec: {line}", file=sys.stderr, flush=True)


def say_failed(
    error: BaseException, message: str, *, exit_code: int, traceback: str | None = None
) -> None:
    """Tell that the command failed, with the run id if a run had begun."""
    if is_json():
        facts: dict[str, Fact] = {"error": type(error).__name__, "message": message}
        held = {**facts_of(error), **facts, "exit_code": exit_code}
        if traceback is not None:
            held["traceback"] = traceback
        tell("failed", level=logging.ERROR, **held)
        return
    if traceback is not None:
        print(inert(without_secrets(traceback)), file=sys.stderr, end="")
    print(f"parquet2vec: {message}", file=sys.stderr, flush=True)


class JsonHandler(logging.StreamHandler[TextIO]):
    """Writes records to standard error, whatever that is when they come, as JSON lines."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.stream = sys.stderr
        super().emit(record)


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, event, then its facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; nothing in it is a secret, and no name can break it."""
        told: dict[str, Any] = {
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None) or record.getMessage(),
        }
        if record.name != LOGGER:
            told["logger"] = record.name
        told |= {name: str(value) for name in _PREFECTS if (value := getattr(record, name, None))}
        told |= _of_the_flow_run(told)
        facts: Mapping[str, Fact] = getattr(record, "facts", {})
        told |= {name: value for name, value in facts.items() if name not in told}
        if record.exc_text or record.exc_info:
            told["traceback"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return inert(json.dumps({n: _clean(v) for n, v in told.items()}, ensure_ascii=False))


def _clean(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) else value


def _moment(created: float) -> str:
    found = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return found.replace("+00:00", "Z")


def _of_the_flow_run(told: Mapping[str, Any]) -> dict[str, str]:
    """The id of the flow run that is under way here, if Prefect is."""
    if "flow_run_id" in told or "prefect.context" not in sys.modules:
        return {}
    from prefect.context import FlowRunContext, TaskRunContext

    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if task is not None and task.task_run.flow_run_id is not None:
        return {
            "flow_run_id": str(task.task_run.flow_run_id),
            "task_run_id": str(task.task_run.id),
        }
    found = flow.flow_run if flow is not None else None
    return {} if found is None else {"flow_run_id": str(found.id)}
