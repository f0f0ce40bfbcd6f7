"""Command-line options made from a job's pydantic model, so that no option is written twice."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from pipeline.config import Config

_PLAIN = (bool, int, float, str)


def with_options(
    model: type[Config],
    *,
    arguments: tuple[str, ...] = (),
    needed: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that turns the fields of `model` into options of a typer command.

    The decorated function receives, first, a dict of the fields that the user gave, and then its
    own options. Fields named in `arguments` are positional. Fields that hold tables (nested models,
    dicts) have no option: they are said in a project file. With `needed=False` a missing field is
    no usage error, because a project file may hold it.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = dict(parameters(model, arguments=arguments, needed=needed))

        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in fields}
            command({name: value for name, value in given.items() if _was_given(value)}, **values)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        run.__signature__ = inspect.Signature([*fields.values(), *own])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        return run

    return decorate


def parameters(
    model: type[Config], *, arguments: tuple[str, ...] = (), needed: bool = True
) -> Iterator[tuple[str, inspect.Parameter]]:
    """Name and parameter of each field of `model` that a command line can say."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    for name in sorted(fields, key=lambda name: _position(name, arguments)):
        plain = _plain_type(fields[name].annotation)
        if plain is not None:
            info = _info(name, fields[name], positional=name in arguments, needed=needed)
            annotation = plain if info.default is ... else plain | None
            yield (
                name,
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation
                ),
            )


def _position(name: str, arguments: tuple[str, ...]) -> int:
    return arguments.index(name) if name in arguments else len(arguments)


def _info(name: str, field: FieldInfo, *, positional: bool, needed: bool) -> Any:
    """Typer's description of one field. Defaults are told, not passed on: None means not given."""
    default = ... if field.is_required() and needed else None
    text = _help(field)
    if positional:
        return typer.Argument(default, metavar=name.upper(), help=text, show_default=False)
    flag, metavar = "--" + name.replace("_", "-"), _metavar(name, field)
    return typer.Option(default, flag, help=text, show_default=False, metavar=metavar)


def _help(field: FieldInfo) -> str:
    notes = []
    if _plain_type(field.annotation) == list[str]:
        notes.append("repeatable")
    default = field.get_default(call_default_factory=False)
    if not (field.is_required() or default is None or default is False or default == ()):
        notes.append(f"default: {default}")
    text = " ".join(filter(None, [field.description, f"[{', '.join(notes)}]" if notes else ""]))
    return text.replace("[", "\\[")  # rich would read a bracket as markup


def _metavar(name: str, field: FieldInfo) -> str | None:
    plain = _plain_type(field.annotation)
    if plain is bool or get_origin(plain) is Literal:
        return None  # typer shows the choices
    return "N" if plain in (int, float) else name.upper()


def _plain_type(annotation: Any) -> Any:
    """What typer is told for a field's type, or None where only a file can say the value."""
    if annotation is date:
        return str  # the model reads it
    if annotation in _PLAIN or get_origin(annotation) is Literal:
        return annotation
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    arguments = [item for item in get_args(annotation) if item is not types.NoneType]
    if get_origin(annotation) in (Union, types.UnionType) and len(arguments) == 1:
        return _plain_type(arguments[0])
    if get_origin(annotation) is tuple and arguments == [str, ...]:
        return list[str]
    return None


def _was_given(value: Any) -> bool:
    return value is not None and value != []
