"""The facts of an inspection as a screenful of lines."""

from __future__ import annotations

from typing import Any

from flows.console import aligned, two_columns
from flows.inspection import BundleFacts, DestinationFacts, Facts, SourceFacts
from flows.results import current_of
from flows.wording import counted, size_of

_COLUMNS_SHOWN = 40
_VERSIONS_SHOWN = 10


def text(facts: Facts) -> str:
    """The facts as lines for people."""
    if isinstance(facts, SourceFacts):
        return _source_text(facts)
    if isinstance(facts, BundleFacts):
        return _bundle_text(facts)
    return _destination_text(facts)


def _source_text(facts: SourceFacts) -> str:
    rows, files = counted(facts.rows, "row"), counted(facts.files, "file")
    lines = [("source", facts.path), ("holds", f"{rows} in {files}, {size_of(facts.bytes)}")]
    if facts.skipped:
        lines.append(("skipped", f"{len(facts.skipped):,} files that are not Parquet"))
    table = [
        (c.name, c.kind or "-", c.role, "" if c.nulls is None else f"{100 * c.nulls:.1f} %", c.type)
        for c in facts.columns[:_COLUMNS_SHOWN]
    ]
    heads = ("column", "kind", "role", "nulls", "type")
    more = len(facts.columns) - _COLUMNS_SHOWN
    return "\n".join(
        [
            two_columns(lines),
            "",
            aligned([heads, *table]),
            *([f"… and {more:,} more columns"] if more > 0 else []),
            f"nulls: of the first {facts.sampled_rows:,} rows; kind, role: as train takes them",
        ]
    )


def _bundle_text(facts: BundleFacts) -> str:
    features = ", ".join(f"{count} {kind}" for kind, count in facts.features.items())
    images = ", ".join(f"{name} ({shape})" for name, shape in facts.images.items())
    lines = [
        ("bundle", facts.path),
        (
            "model",
            f"{facts.recipe}, {counted(facts.dim, 'number')} a row, {facts.fingerprint[:12]}",
        ),
        ("reads", f"columns: {features}"),
        *([("images", images)] if images else []),
        ("keeps", ", ".join([*facts.keys, *filter(None, [facts.event_time])]) or "nothing"),
        ("label", ", ".join(facts.labels) or "none"),
        ("trained", f"on {facts.training_rows or 0:,} rows{_learnt(facts.learnt_from)}"),
        ("parity", _parity(facts.parity)),
        ("made with", ", ".join(f"{name} {found}" for name, found in facts.versions.items())),
        ("report", facts.report or "none"),
    ]
    files = [(name, f"{file.bytes:,}", file.sha256[:12]) for name, file in facts.files.items()]
    return f"{two_columns(lines)}\n\n{aligned([('file', 'bytes', 'sha256'), *files])}"


def _learnt(labels: dict[str, int]) -> str:
    named = ", ".join(f"{name} ({rows:,} rows)" for name, rows in labels.items())
    return f", and made for {named}" if named else ", without a label"


def _destination_text(facts: DestinationFacts) -> str:
    current = f"{current_of(facts.path)}, version {facts.current}" if facts.current else "none yet"
    pinned = "yes; `parquet2vec rollback DESTINATION --unpin` lets go" if facts.pinned else "no"
    lines = [
        ("destination", facts.path),
        ("current", current),
        ("pinned", pinned),
        ("source", facts.source or "none"),
    ]
    if facts.damaged:
        lines.append(("damaged", f"{', '.join(facts.damaged)}; `parquet2vec gc` deletes them"))
    if facts.page:
        lines.append(("page", facts.page))
    heads = ("", "version", "rows", "parts", "size", "model", "published", "by")
    versions = [
        (
            "*" if version.current else "",
            version.run_id[:12],
            f"{version.rows:,}",
            f"{version.parts:,}",
            size_of(version.bytes),
            version.model[:12],
            version.published[:19],
            version.made.by if version.made else "",
        )
        for version in facts.versions[:_VERSIONS_SHOWN]
    ]
    return f"{two_columns(lines)}\n\n{aligned([heads, *versions])}"


def _parity(parity: dict[str, Any]) -> str:
    """The export gate's figure for the encoder: how far torch and ONNX Runtime are apart."""
    found = parity.get("torch", {}).get("encoder.onnx", {})
    return f"ONNX Runtime within {max(found.values()):.0e} of torch" if found else "not recorded"
