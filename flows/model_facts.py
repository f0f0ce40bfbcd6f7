"""What a registry of models holds, and what is known of one version: facts, then lines."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from flows.console import aligned, two_columns
from flows.results import Probe
from flows.verbs import probe
from flows.wording import size_of
from pipeline.config import Config
from pipeline.errors import BundleError
from pipeline.lineage import Lineage
from pipeline.locations import ALIASES, PRODUCTION
from pipeline.publishing import Move
from pipeline.registries import open_registry
from pipeline.registry import Registry, before_production, find

_CARD, _NUMBERS = "model_card.md", "evaluation.json"
_MOVES_SHOWN = 5


class ModelFacts(Config):
    """A version of a model; what its manifest says is None where that is damaged."""

    version: str
    aliases: tuple[str, ...] = Field(description="Aliases that lead to it.")
    path: str
    recipe: str | None
    dim: int | None
    rows: int | None = Field(description="Rows it was trained on.")
    bytes: int | None
    probe: Probe | None
    lineage: Lineage | None
    damage: str | None = None


class ModelListing(Config):
    """A registry, the newest version first."""

    models: str
    production: str | None
    pinned: bool = Field(description="Whether refreshes leave production where it is.")
    before: str | None = Field(description="The version that a rollback goes to.")
    candidate: str | None
    versions: tuple[ModelFacts, ...]


class ModelStory(Config):
    """One version with its card, and the moves of production to it, the newest first."""

    model: ModelFacts
    moves: tuple[Move, ...]
    card: str | None


def listing(models: str) -> ModelListing:
    """What is registered in `models`.

    Raises:
        BundleError: if it is no registry.
    """
    registry = open_registry(models)
    pointers = {name: registry.alias(name) for name in ALIASES}
    production, candidate = (pointers[name] for name in ALIASES)
    return ModelListing(
        models=registry.path,
        production=production.run_id if production else None,
        pinned=production is not None and production.pinned,
        before=before_production(registry),
        candidate=candidate.run_id if candidate else None,
        versions=tuple(_facts(registry, version) for version in reversed(registry.versions())),
    )


def story(models: str, version: str) -> ModelStory:
    """What is known of a version, an alias, or the beginning of a version.

    Raises:
        BundleError: if there is no registry, or no such version.
    """
    registry = open_registry(models)
    found = find(registry, version)
    card = registry.attached(found, _CARD)
    return ModelStory(
        model=_facts(registry, found),
        moves=tuple(move for move in registry.history(PRODUCTION) if move.version == found),
        card=card.decode(errors="replace") if card else None,
    )


def _facts(registry: Registry, version: str) -> ModelFacts:
    try:
        manifest, damage = registry.manifest(version), None
    except BundleError as error:
        manifest, damage = None, str(error)
    pointers = {name: registry.alias(name) for name in ALIASES}
    files = manifest.files.values() if manifest else ()
    return ModelFacts(
        version=version,
        aliases=tuple(name for name, to in pointers.items() if to and to.run_id == version),
        path=registry.location(version),
        recipe=manifest.recipe if manifest else None,
        dim=manifest.dim if manifest else None,
        rows=manifest.training_data.get("rows") if manifest else None,
        bytes=sum(file.bytes for file in files) if manifest else None,
        probe=_probe(registry.attached(version, _NUMBERS)),
        lineage=registry.lineage(version),
        damage=damage,
    )


def _probe(numbers: bytes | None) -> Probe | None:
    from training.results import Evaluation

    try:
        return probe(Evaluation.model_validate_json(numbers)) if numbers else None
    except ValueError:
        return None


def listing_text(found: ModelListing) -> str:
    """What `models list` says."""
    pinned = "; pinned until `parquet2vec models rollback MODELS --unpin`" if found.pinned else ""
    there = {model.version for model in found.versions}
    lost = found.production is not None and found.production not in there
    gone = "; not there any more: `parquet2vec models rollback MODELS VERSION`" if lost else ""
    lines = [
        ("models", found.models),
        ("production", (found.production or "none yet") + gone + pinned),
        ("before", found.before or "none"),
        ("candidate", found.candidate or "none yet"),
        *[("damage", model.damage) for model in found.versions if model.damage],
    ]
    heads = ("version", "leads here", "registered", "recipe", "dim", "rows", "probe", "size", "by")
    return f"{two_columns(lines)}\n\n{aligned([heads, *map(_row, found.versions)])}"


def _row(model: ModelFacts) -> tuple[str, ...]:
    lineage = model.lineage
    return (
        model.version,
        ", ".join(model.aliases) or "-",
        _time(lineage.at) if lineage else "not recorded",
        model.recipe or "unreadable",
        "-" if model.dim is None else str(model.dim),
        "-" if model.rows is None else f"{model.rows:,}",
        f"{model.probe.scores['embedding']:.4f}" if model.probe else "-",
        "-" if model.bytes is None else size_of(model.bytes),
        lineage.by if lineage else "-",
    )


def story_text(found: ModelStory) -> str:
    """What `models show` says."""
    model, lineage = found.model, found.model.lineage
    score = "none"
    if model.probe:
        score = (
            f"{model.probe.metric} {model.probe.scores['embedding']:.4f} on "
            f"{model.probe.rows:,} unseen rows"
        )
    lines = [
        ("version", model.version),
        ("leads here", ", ".join(model.aliases) or "no alias"),
        ("path", model.path),
        *([("damage", model.damage)] if model.damage else []),
        ("probe", score),
        *(_lineage(lineage, model.rows) if lineage else [("lineage", "not recorded")]),
        *[("promoted", _moved(move)) for move in found.moves[:_MOVES_SHOWN]],
    ]
    return two_columns(lines) + (f"\n\n{found.card.strip()}" if found.card else "")


def _lineage(found: Lineage, rows: int | None) -> list[tuple[str, str]]:
    """What was recorded of a version, and how many `rows` its bundle says it learnt from."""
    by_hand = found.source is None
    table = [found.source or "unknown, the bundle was added by hand"]
    table += [f"state {found.source_fingerprint[:12]}"] if found.source_fingerprint else []
    table += [f"{rows:,} rows learnt from"] if rows is not None else []
    return [
        ("table", "; ".join(table)),
        ("code", f"parquet2vec {found.code}"),
        ("run", found.run or ("unknown" if by_hand else "without Prefect")),
        ("registered", f"{_time(found.at)} by {found.by}"),
    ]


def _moved(move: Move) -> str:
    return f"{_time(move.at)} by {move.by or 'unknown'}: {move.why or 'no reason given'}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
