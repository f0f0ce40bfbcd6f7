"""Results as a few lines for people."""

from __future__ import annotations

from flows.console import two_columns
from flows.results import (
    EvaluationResult,
    GenerationResult,
    MonitorResult,
    Probe,
    Promotion,
    PublishResult,
    RefreshResult,
    TrainingResult,
    current_of,
)
from flows.wording import counted, size_of
from pipeline.drift_picture import told, verdict, worst
from pipeline.drift_report import DriftReport
from pipeline.job import JobReport
from pipeline.pinning import Rollback
from pipeline.registries import ModelCleaning
from pipeline.retention import Cleaning
from pipeline.verification import Verification

_NAMED = 10
_SHOWN = ("embedding", "PCA", "raw", "random")


def training(result: TrainingResult) -> str:
    """What `train` says."""
    rows = [
        ("bundle", result.bundle),
        (
            "recipe",
            f"{result.recipe}, {_width(result.dim)}, {counted(result.rows, 'training row')}",
        ),
        *([("left out", _left_out(result.left_out))] if result.left_out else []),
        *_probe(result.probe),
        ("verdict", result.verdict),
        ("report", result.report),
        ("took", f"{result.seconds:.1f} s"),
        *[("note", note) for note in result.notes],
    ]
    return two_columns(rows)


def evaluation(result: EvaluationResult) -> str:
    """What `evaluate` says."""
    return two_columns(
        [*_probe(result.probe), ("verdict", result.verdict), ("report", result.report)]
    )


def generation(result: GenerationResult) -> str:
    """What `generate` says."""
    drawn, found = result.generation, result.comparison
    size = f"{counted(drawn.rows, 'row')} of {counted(drawn.columns, 'column')}"
    rows = [
        ("out", f"{drawn.out}, {size_of(drawn.bytes)}"),
        ("drawn", f"{size}, seed {drawn.seed}, from bundle {drawn.model[:12]}"),
        *([("where", ", ".join(drawn.given))] if drawn.given else []),
        ("took", f"{drawn.seconds:.1f} s, {drawn.rows_per_second:,.0f} rows/s"),
    ]
    if found is not None:
        rows += [
            ("verdict", found.verdict),
            ("farthest", f"column {found.column}, distance {found.largest_distance:.3f}"),
            ("report", found.report),
        ]
    return two_columns(rows)


def embedding(result: JobReport) -> str:
    """What `embed` says."""
    size = f"{counted(result.rows, 'row')} in {counted(result.parts, 'part')}"
    rows = [
        ("current", _current(result)),
        ("version", f"{result.run_id}, {size}"),
        ("work", _work(result)),
    ]
    if result.skipped_files:
        count = counted(len(result.skipped_files), "file")
        rows.append(("skipped", f"{count} not named .parquet: {_first(result.skipped_files)}"))
    if result.ignored_columns:
        count = counted(len(result.ignored_columns), "column")
        rows.append(("ignored", f"{count} unknown to the model: {_first(result.ignored_columns)}"))
    if result.null_keys:
        rows.append(("null keys", f"{counted(result.null_keys, 'cell')} of key columns"))
    if result.files_without_checksums:
        count = counted(result.files_without_checksums, "source file")
        rows.append(("unchecked", f"{count} without page checksums: damage there may go unseen"))
    return two_columns(rows)


def _left_out(named: tuple[str, ...]) -> str:
    such = "such a column is no feature" if len(named) == 1 else "such columns are no features"
    return f"{', '.join(named[:_NAMED])}{', …' if len(named) > _NAMED else ''}: {such}"


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _current(result: JobReport) -> str:
    link = current_of(result.destination)
    if not result.pinned:
        return link
    return (
        f"{link} stays pinned at {result.current}; "
        f"`parquet2vec rollback {result.destination} --unpin` moves it to the newest version"
    )


def _work(result: JobReport) -> str:
    if not result.published:
        return "none: this very work is published already"
    parts = [("computed", result.computed), ("reused", result.reused), ("resumed", result.resumed)]
    told = ", ".join(f"{count} {what}" for what, count in parts if count)
    return f"{told or 'no parts'}; {result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"


def promotion(result: Promotion) -> str:
    """Whether the model was replaced."""
    kept = "kept the current model" if result.current else "refused"
    verdict = "promoted" if result.promoted else kept
    return two_columns([("promotion", f"{verdict}: {result.reason}")])


def refresh(result: RefreshResult) -> str:
    """What `flow refresh` says."""
    parts = (training(result.training), promotion(result.promotion), embedding(result.embedding))
    return "\n\n".join(parts)


def drift(result: DriftReport) -> str:
    """What `monitor` says."""
    against = "training" + (f" and version {result.previous}" if result.previous else "")
    moved = [column for column in result.columns if column.drifted]
    shown = moved or result.columns[:3]
    picture = [("picture", result.picture)] if result.picture else []
    return two_columns(
        [
            ("verdict", verdict(result)),
            ("version", f"{result.run_id}, {counted(result.rows, 'row')} computed"),
            ("against", f"{against}; {counted(result.history, 'earlier run')} without drift"),
            *[(column.name, told(worst(column))) for column in shown],
            *([("then", result.followed)] if result.followed else []),
            *picture,
        ]
    )


def monitoring(result: MonitorResult) -> str:
    """What `flow monitor` says."""
    parts = [drift(result.drift), *([refresh(result.refresh)] if result.refresh else [])]
    return "\n\n".join(parts)


def publication(result: PublishResult) -> str:
    """What `publish` says."""
    online = "not loaded; --materialize loads it"
    if result.online_run is not None:
        online = f"version {result.online_run}"
    if result.loaded_from is not None:
        online += f", now loaded from {result.loaded_from} on"
    size = f"{result.dim} numbers by {', '.join(result.join_keys)} at {result.event_time}"
    return two_columns(
        [
            ("feature view", f"{result.view} of {result.project}, {size}"),
            ("over", f"{current_of(result.destination)}, version {result.run_id}"),
            ("defined in", result.definition),
            ("online", online),
            ("took", f"{result.seconds:.1f} s"),
            *[("note", note) for note in result.notes],
        ]
    )


def verification(result: Verification) -> str:
    """What `verify` says."""
    size = f"{counted(result.files, 'file')}, {size_of(result.bytes)}"
    what = f"{result.what} of {counted(result.versions, 'version')}," if result.versions else ""
    return f"{result.path} is intact: a {what or result.what + ' of'} {size}, every hash as sealed"


def rollback(result: Rollback) -> str:
    """What `rollback` says."""
    until = f"until `parquet2vec rollback {result.destination} --unpin`" if result.pinned else "no"
    return two_columns(
        [
            ("current", f"{current_of(result.destination)}, version {result.run_id}"),
            ("before", result.previous or "none"),
            ("pinned", until),
        ]
    )


def cleaning(result: Cleaning) -> str:
    """What `gc` says."""
    return two_columns(
        [
            ("destination", result.destination),
            ("deleted", ", ".join(result.versions) or "no version"),
            *([("damaged", f"deleted: {', '.join(result.damaged)}")] if result.damaged else []),
            *([("waiting", _waiting(result))] if result.waiting else []),
            ("leftovers", ", ".join(result.leftovers) or "none"),
        ]
    )


def model_cleaning(result: ModelCleaning) -> str:
    """What `models gc` says."""
    waiting = f"whoever opened them still has time with {', '.join(result.waiting)}"
    return two_columns(
        [
            ("models", result.models),
            ("deleted", ", ".join(result.versions) or "no version"),
            *([("waiting", waiting)] if result.waiting else []),
            ("leftovers", ", ".join(result.leftovers) or "none"),
        ]
    )


def _waiting(result: Cleaning) -> str:
    return f"readers still have time with {', '.join(result.waiting)}"


def _probe(found: Probe | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    shown = [name for name in _SHOWN if name in found.scores]
    scores = "   ".join(f"{name} {found.scores[name]:.3f}" for name in shown)
    seconds = "   ".join(f"{name} {_duration(found.fit_seconds[name])}" for name in shown)
    return [
        ("probe", f"{scores}   ({found.metric}, {found.rows:,} unseen rows)"),
        ("fit", seconds),
    ]


def _width(dim: int) -> str:
    return f"{counted(dim, 'number')} a row"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
