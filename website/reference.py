"""The reference pages that are made from the code: every option, every field of a project file."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from flows.cli import app
from flows.project import Project

COMMANDS = """\
# Every command and option

Made from the program itself; `parquet2vec COMMAND --help` says the same. What the commands do and
what they promise stands in [Commands](../commands.md).
"""
PROJECT_FILE = """\
# The project file, field by field

Made from the program itself. A project file is TOML; relative paths count from its folder, and a
field that is not here is refused with its path. [Commands](../commands.md#project-file) shows a
whole one, and `parquet2vec init` writes one for a table.
"""


def command_pages() -> str:
    """The page of all commands with their arguments and options, as Markdown."""
    sections = [_command(path, command) for path, command in _commands(get_command(app), ())]
    return "\n".join([COMMANDS, *sections])


def project_page() -> str:
    """The page of all tables of a project file, as Markdown."""
    return "\n".join([PROJECT_FILE, *_tables(Project, "", seen=set())])


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join([*path, name]), command


def _command(path: str, command: Any) -> str:
    """One command: what it does, its arguments and options, examples."""
    context = typer.Context(command, info_name=f"parquet2vec {path}")
    records = [
        one.get_help_record(context) for one in command.params if not getattr(one, "hidden", False)
    ]
    rows = [
        (_code(name.removesuffix(" <str>")), _cell(text)) for name, text in filter(None, records)
    ]
    shown = [line for line in (command.epilog or "").splitlines() if line.startswith("$ ")]
    return "\n\n".join(
        [
            f"## {path}",
            inspect.cleandoc(command.help or "").replace("\\[", "["),
            _table(("argument or option", "meaning"), rows),
            "\n".join(["```console", *shown, "```", ""]),
        ]
    )


def _tables(model: type[BaseModel], path: str, *, seen: set[str]) -> Iterator[str]:
    """A table for each TOML table that `model` has, itself first where it has fields of its own."""
    plain, nested = [], []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            plain.append((_code(name), _type(field), _value(field), _cell(field.description)))
        else:
            key = ".NAME" if get_origin(_bare(field.annotation)) is not None else ""
            nested.append((f"{path}.{name}{key}".lstrip("."), inner, field))
    if plain and path:
        yield _table(("field", "takes", "default", "meaning"), plain) + "\n"
    for inner_path, inner, field in nested:
        yield f"## `[{inner_path}]`\n\n{_cell(field.description) or inspect.getdoc(inner)}\n"
        yield from _tables(inner, inner_path, seen=seen)


def _bare(annotation: Any) -> Any:
    """`annotation` without Annotated and None."""
    if hasattr(annotation, "__metadata__"):
        return _bare(annotation.__origin__)
    rest = [one for one in get_args(annotation) if one is not type(None)]
    if len(rest) == 1 and type(None) in get_args(annotation):
        return _bare(rest[0])
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, or as the values of a mapping."""
    bare = _bare(annotation)
    if isinstance(bare, type) and get_origin(bare) is None:
        return bare if issubclass(bare, BaseModel) else None
    arguments = get_args(bare)
    is_mapping = len(arguments) == 2 and arguments[0] is str
    return _model_in(arguments[1]) if is_mapping else None


_NAMES = {str: "text", int: "integer", float: "number", bool: "true, false"}


def _type(field: FieldInfo) -> str:
    return _cell(_named(field.annotation)) + _bounds(field.metadata)


def _named(annotation: Any) -> str:
    bare = _bare(annotation)
    if bare in _NAMES:
        return _NAMES[bare]
    arguments = get_args(bare)
    if arguments and not any(isinstance(one, type) or get_args(one) for one in arguments):
        return ", ".join(f"`{one}`" for one in arguments)  # Literal
    if get_origin(bare) in (tuple, list):
        inner = _named(arguments[0])
        return f"list of {inner}"
    if arguments:
        return " or ".join(dict.fromkeys(_named(one) for one in arguments if one is not type(None)))
    return getattr(bare, "__name__", str(bare)).lower()


def _bounds(metadata: list[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(item, name):g}"
        for item in metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""


def _value(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ((), []):
        return ""
    return _code(str(default).lower() if isinstance(default, bool) else str(default))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str) -> str:
    return f"`{_one_line(text)}`"


def _cell(text: str | None) -> str:
    """`text` in a Markdown table, where what is in angle brackets is no tag."""
    return _one_line(text or "").replace("<", "&lt;")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("\\[", "[").replace("|", "\\|")
