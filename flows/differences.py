"""How two bundles differ: columns, options, data, scores, sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from flows.console import aligned, two_columns
from pipeline import objects
from pipeline.aliases import follow
from pipeline.bundle import REPORT, Bundle
from pipeline.config import Config
from pipeline.errors import StoreError
from pipeline.locations import S3Location, locate
from pipeline.schema import Column

_NUMBERS, _SPEC = "evaluation.json", "spec.json"
_COMPARED = ("kind", "role", "type")
_INCOMPARABLE = "scores: none that both reports have for the same label"
_SIDE = ("fingerprint", "recipe", "dim", "rows", "table", "bytes")


class Side(Config):
    """One of the two bundles."""

    path: str
    fingerprint: str
    recipe: str
    dim: int
    rows: int | None = Field(description="Rows it was trained on.")
    table: str | None = Field(description="Fingerprint of the table it was trained on.")
    bytes: int


class Change(Config):
    """A setting or a property that both have, or one only, and their values in words."""

    name: str
    a: str | None
    b: str | None


class ScoreChange(Config):
    """A score of both, by the same probe for the same label."""

    name: str
    a: float
    b: float


class BundleDifference(Config):
    """What `models diff` answers; scores stand side by side only where they mean the same."""

    a: Side
    b: Side
    same: bool = Field(description="Whether they are the same bundle, byte for byte.")
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_changed: tuple[Change, ...]
    options: tuple[Change, ...]
    versions: tuple[Change, ...] = Field(description="Libraries they were made with.")
    scores: tuple[ScoreChange, ...]


def difference(a: str, b: str) -> BundleDifference:
    """How the bundle `b` differs from the bundle `a`.

    Raises:
        BundleError: if one is missing or damaged.
    """
    one, other = Bundle.open(a), Bundle.open(b)
    columns, others = _columns(one), _columns(other)
    return BundleDifference(
        a=_side(a, one),
        b=_side(b, other),
        same=one.fingerprint == other.fingerprint,
        columns_added=tuple(name for name in others if name not in columns),
        columns_removed=tuple(name for name in columns if name not in others),
        columns_changed=tuple(_changed_columns(columns, others)),
        options=tuple(_changes(_options(one), _options(other))),
        versions=tuple(_changes(one.manifest.versions, other.manifest.versions)),
        scores=tuple(_scores(_numbers(a), _numbers(b))),
    )


def _side(path: str, bundle: Bundle) -> Side:
    data = bundle.manifest.training_data
    return Side(
        path=path,
        fingerprint=bundle.fingerprint,
        recipe=bundle.manifest.recipe,
        dim=bundle.manifest.dim,
        rows=data.get("rows"),
        table=data.get("fingerprint"),
        bytes=sum(file.bytes for file in bundle.manifest.files.values()),
    )


def _columns(bundle: Bundle) -> dict[str, Column]:
    return {column.name: column for column in bundle.manifest.feature_schema.columns}


def _changed_columns(a: Mapping[str, Column], b: Mapping[str, Column]) -> Iterator[Change]:
    for name in a:
        for what in _COMPARED if name in b else ():
            one, other = getattr(a[name], what), getattr(b[name], what)
            if one != other:
                yield Change(name=f"{name}: {what}", a=str(one or "none"), b=str(other or "none"))


def _options(bundle: Bundle) -> dict[str, str]:
    """Every choice of the encoder and its training by its path; dim and recipe are told apart."""
    told = json.loads(bundle.read(_SPEC)) if bundle.has(_SPEC) else {}
    chosen = {**told.get("spec", {}), "seed": told.get("seed")}
    flat = dict(_flat(chosen, ""))
    return {name: value for name, value in flat.items() if name not in ("dim", "recipe")}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _flat(one, f"{path}.{name}" if path else name)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _changes(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield Change(name=name, a=a.get(name), b=b.get(name))


def _numbers(path: str) -> dict[str, Any]:
    """The figures in the report of the bundle at `path`; empty where it has none."""
    location = follow(locate(path))
    try:
        if isinstance(location, S3Location):
            found = objects.read(location.join(REPORT, _NUMBERS))
        else:
            found = (location / REPORT / _NUMBERS).read_bytes()
        told = json.loads(found)
    except StoreError:
        raise
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _scores(a: dict[str, Any], b: dict[str, Any]) -> Iterator[ScoreChange]:
    meaning = ("label", "metric")
    if not a or not b or [a.get(name) for name in meaning] != [b.get(name) for name in meaning]:
        return
    mine, theirs = _by_name(a), _by_name(b)
    for name in mine:
        if name in theirs:
            yield ScoreChange(name=name, a=mine[name], b=theirs[name])


def _by_name(numbers: dict[str, Any]) -> dict[str, float]:
    """Scores of the embedding, and of hidden columns predicted by it."""
    found = {
        f"{numbers['metric']}, {score['probe']} probe": float(score["score"])
        for score in numbers.get("scores", [])
        if score["representation"] == "embedding"
    }
    hidden = numbers.get("hidden_columns")
    return found | ({"R² of hidden columns": float(hidden["embedding"])} if hidden else {})


def text(found: BundleDifference) -> str:
    """What `models diff` says."""
    if found.same:
        return f"{found.a.path} and {found.b.path} are the same bundle, byte for byte"
    sides = [(name, _said(found.a, name), _said(found.b, name)) for name in ("path", *_SIDE)]
    parts = [aligned([("", "a", "b"), *sides])]
    columns = [("added", name) for name in found.columns_added]
    columns += [("removed", name) for name in found.columns_removed]
    columns += [(change.name, f"{change.a} → {change.b}") for change in found.columns_changed]
    for title, rows in (
        ("columns", columns),
        ("options", [(one.name, _arrow(one)) for one in found.options]),
        ("libraries", [(one.name, _arrow(one)) for one in found.versions]),
    ):
        parts.append(f"{title}\n{two_columns(rows)}" if rows else f"{title}: as before")
    scores = [(one.name, _score(one)) for one in found.scores]
    parts.append(f"scores\n{two_columns(scores)}" if scores else _INCOMPARABLE)
    return "\n\n".join(parts)


def _said(side: Side, name: str) -> str:
    value = getattr(side, name)
    if name in ("fingerprint", "table"):
        return str(value)[:12]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _arrow(change: Change) -> str:
    return f"{change.a or 'not there'} → {change.b or 'not there'}"


def _score(change: ScoreChange) -> str:
    return f"{change.a:.4f} → {change.b:.4f} ({change.b - change.a:+.4f})"
