"""Text that leaves the process: no secret in it, and nothing that a terminal would obey.

The names of columns and files are other people's text: one may hold an escape sequence that
rewrites the screen, or a line break that forges a message of ours.
"""

from __future__ import annotations

import logging
import os
import re
import traceback

from pipeline.locations import redacted

SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_SERVER_API_AUTH_STRING",
)
# A shorter value is a placeholder, and may well be part of an ordinary word.
_SHORTEST = 8

# Control characters but line feed and tab; marks that reorder text; halves of characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def inert(text: str) -> str:
    r"""`text` with what a terminal would obey written as JSON writes it; valid JSON stays valid.

    >>> print(inert("column 'a\x1b[2J' is missing"))
    column 'a\u001b[2J' is missing
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_secrets(text: str) -> str:
    """`text` without URLs' credentials and queries, and without the secrets of the environment."""
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return redacted(text)


def clean_record(record: logging.LogRecord) -> bool:
    """A filter for loggers that lets every record pass, its message and traceback cleaned."""
    record.msg, record.args = inert(without_secrets(record.getMessage())), ()
    if record.exc_info and record.exc_info[1] is not None:
        # What is here already is not formatted again.
        told = "".join(traceback.format_exception(record.exc_info[1]))
        record.exc_text = inert(without_secrets(told)).rstrip("\n")
    return True
