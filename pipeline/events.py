"""What happens in a run, for whoever collects logs: one record for each event, with its facts.

Records go to the logger ``parquet2vec`` of the standard library. Nothing is shown unless somebody
asks: the command line with ``--log-format json``, Prefect on its page, a program with a handler.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

LOGGER = "parquet2vec"
RUN_ID = "run_id"
# Under this name an error carries the facts that held where it arose.
_CARRIED = "parquet2vec_facts"

Fact: TypeAlias = "str | int | float | bool | None"

_log = logging.getLogger(LOGGER)
_facts: ContextVar[Mapping[str, Fact] | None] = ContextVar("facts", default=None)


@contextmanager
def about(**facts: Fact) -> Iterator[None]:
    """Every event that is told inside carries `facts`, and so does an error that leaves.

    Threads begin without them, as with every context variable.
    """
    held = {**(_facts.get() or {}), **facts}
    before = _facts.set(held)
    try:
        yield
    except BaseException as error:
        vars(error).setdefault(_CARRIED, held)
        raise
    finally:
        _facts.reset(before)


def facts_of(error: BaseException) -> Mapping[str, Fact]:
    """The facts that held where `error` arose."""
    found: Mapping[str, Fact] = vars(error).get(_CARRIED, {})
    return found


def tell(event: str, *, level: int = logging.INFO, **facts: Fact) -> None:
    """Log an event: as words for people, and in ``record.event`` and ``record.facts`` for machines.

    >>> logging.getLogger(LOGGER).setLevel(logging.INFO)
    >>> import sys
    >>> shown = logging.StreamHandler(sys.stdout)
    >>> logging.getLogger(LOGGER).addHandler(shown)
    >>> with about(run_id="3f2a9c12"):
    ...     tell("part finished", rows=1_000, seconds=0.25)
    part finished: rows 1,000, seconds 0.25 (run 3f2a9c12)

    >>> logging.getLogger(LOGGER).removeHandler(shown)
    >>> logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    """
    if not _log.isEnabledFor(level):
        return
    held = _facts.get() or {}
    words = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in facts.items())
    run = held.get(RUN_ID)
    text = event + (f": {words}" if words else "") + (f" (run {str(run)[:8]})" if run else "")
    _log.log(level, "%s", text, extra={"event": event, "facts": {**held, **facts}}, stacklevel=2)


def _shown(value: Fact) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
