"""A settings model as a table of TOML: every field with its description, its value or its default.

The explanations are those of the models that the file is read with, so that none is written twice.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from pipeline.config import Config

_WIDTH = 88
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def fields(
    model: type[Config], said: Mapping[str, Any], *, notes: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Every field of `model`: its description, then its in_toml, or its default behind a #."""
    notes = notes or {}
    # What is said stands first.
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in said):
        if _is_table(field):
            continue
        note = f" ({notes[name]})" if name in notes else ""
        yield from comment(f"{(field.description or '').rstrip('.')}{note}.")
        if name in said and said[name] not in ([], None):
            yield f"{name} = {in_toml(said[name])}"
        else:
            yield f"# {name} = {in_toml(_default(field))}".rstrip()


def _is_table(field: FieldInfo) -> bool:
    """Whether a field has a table of its own."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    return isinstance(default, Config | dict) or "FlowSchedule" in str(field.annotation)


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def comment(text: str) -> list[str]:
    """The lines of a comment, wrapped between words."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    )


def in_toml(given: Any) -> str:
    """A value as TOML says it, whose strings are JSON's; nothing for None, which TOML has not."""
    if given is None:
        return ""
    if isinstance(given, list | tuple):
        return f"[{', '.join(map(in_toml, given))}]"
    return json.dumps(given)


def key(name: str) -> str:
    """A name as TOML says it before a =, or in the name of a table."""
    return name if _BARE.fullmatch(name) else json.dumps(name)
