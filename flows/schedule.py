"""When the flows of a project run by themselves, and what happens when a run goes wrong.

Imports no Prefect: every command that reads a project file reads these tables.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from pipeline.config import Config, parse_seconds

_CRON_FIELD = re.compile(r"[\w*/,\-#?]+")
_CRON_FIELDS = 5


def cron_text(text: str) -> str:
    """`text` if it looks like a cron line; Prefect reads it closely when it is served.

    >>> cron_text("0 3 * * *")
    '0 3 * * *'
    """
    fields = text.split()
    if len(fields) != _CRON_FIELDS or not all(map(_CRON_FIELD.fullmatch, fields)):
        raise ValueError(
            "five fields are required (minute hour day month weekday), such as 0 3 * * *"
        )
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, OSError, ValueError):  # unknown, a folder, a path
        raise ValueError("a time zone such as UTC or Europe/Berlin is required") from None
    return text


def _duration(text: str) -> str:
    parse_seconds(text)
    return text


def _some_time(text: str) -> str:
    if parse_seconds(text) == 0:
        raise ValueError("more than 0s is required; leave it out for no bound")
    return text


CronText = Annotated[str, AfterValidator(cron_text)]
TimezoneText = Annotated[str, AfterValidator(_timezone)]
DurationText = Annotated[str, AfterValidator(_duration)]


class RunPolicy(Config):
    """What a scheduled run does when it fails, hangs, or meets another one."""

    overlap: Literal["skip", "wait"] = Field(
        default="skip",
        description="While another run works for the same destination: end at once, or wait.",
    )
    retries: int = Field(default=2, ge=0, le=20, description="Times a failed run is tried again.")
    retry_delay: DurationText = Field(
        default="5m", description="Time between two tries, such as 90s, 5m or 1h."
    )
    retry_jitter: float = Field(
        default=0.5, ge=0, le=10, description="Share of the delay that chance adds to it."
    )
    timeout: Annotated[DurationText, AfterValidator(_some_time)] | None = Field(
        default=None, description="Time that one try may take, such as 6h; none unless said."
    )


class FlowSchedule(RunPolicy):
    """A flow that runs at the times of a cron line."""

    cron: CronText = Field(description="When: minute hour day month weekday, such as 0 3 * * *.")
    paused: bool = Field(default=False, description="Known to the server, but started by hand.")


class Schedule(Config):
    """The scheduled deployments of a project."""

    name: str | None = Field(
        default=None,
        pattern=r"^[^/%&<>]+$",
        description="Name of the deployments on Prefect's page; default: that of the folder.",
    )
    timezone: TimezoneText = Field(
        default="UTC", description="Time zone of the cron lines, such as Europe/Berlin."
    )
    embed: FlowSchedule | None = Field(default=None, description="When to embed.")
    refresh: FlowSchedule | None = Field(
        default=None, description="When to train a candidate, promote it and embed."
    )
