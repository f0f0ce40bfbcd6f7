"""What the report says in words and single figures."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.bundle import Manifest
from training.results import Encoding, Evaluation
from training.verdict import digits_for, seconds

_PCA = (
    "Numbers are median-imputed, standardised and clipped, with missing indicators; categories "
    "are one-hot. “Our preparation” is the encoder's own prepared matrix instead."
)


def tiles(found: Evaluation) -> list[tuple[str, str, str]]:
    """The figures to see first: name, value, and what to compare it with."""
    shown = []
    if found.scores:
        own, pca, raw = (found.score(name) for name in ("embedding", "PCA", "raw"))
        faster = raw.fit_seconds / max(own.fit_seconds, 1e-6)
        lead, metric = found.lead("PCA"), str(found.metric)
        shown += [
            (
                f"{metric[0].upper()}{metric[1:]}, embedding",
                f"{own.score:.3f}",
                f"linear probe; PCA {pca.score:.3f}, raw columns {raw.score:.3f}",
            ),
            _lead(lead.points, lead.standard_error, f"points; both {found.dim} numbers wide"),
            (
                "Linear model fits",
                f"{faster:.0f}×" if faster >= 10 else f"{faster:.1f}×",
                f"as fast as on raw: {seconds(own.fit_seconds)} against {seconds(raw.fit_seconds)}",
            ),
        ]
    elif found.hidden_columns is not None:
        hidden = found.hidden_columns
        shown += [
            ("Hidden columns, R²", f"{hidden.embedding:.3f}", f"PCA {hidden.pca:.3f}"),
            _lead(hidden.lead_points, hidden.standard_error, "points of R²"),
        ]
    encoding = next(e for e in found.encodings if e.representation == "embedding")
    health = found.health
    return [
        *shown,
        ("Encoding", f"{_rate(encoding)}", "rows a second, one thread, from raw columns"),
        ("Active units", f"{health.active_units} of {health.dim}",
         f"largest |correlation| {health.max_correlation:.2f}"),
    ]  # fmt: skip


def _lead(points: float, error: float, aside: str) -> tuple[str, str, str]:
    digits = digits_for(error)
    # Adding zero takes the sign off what rounds to nothing.
    value = f"{round(points, digits) + 0.0:+.{digits}f}".replace("-", "−")
    return "Lead over PCA", value, f"± {error:.{digits}f} {aside}"


def _rate(encoding: Encoding) -> str:
    rate = encoding.rows / max(encoding.seconds, 1e-6)
    if rate >= 1_000_000:
        return f"{rate / 1_000_000:.1f} M"
    return f"{rate / 1000:.0f}k" if rate >= 10_000 else f"{rate:,.0f}"


def facts(manifest: Manifest, found: Evaluation) -> Iterable[tuple[str, str]]:
    """What was measured, on what, and against what: name and words."""
    rows = found.rows
    yield "Model", f"recipe {found.recipe}, {found.dim} numbers a row, bundle {found.bundle[:12]}"
    columns = len(manifest.feature_schema.features)
    yield "Table", f"{columns} feature column{'s' * (columns != 1)}"
    if found.label:
        kind = f"{len(found.classes)} classes" if found.classes else "a number"
        yield "Label", f"{found.label} ({kind}), never among the inputs of the encoder"
    yield "Test rows", f"{found.test_rows_are}: {rows.test:,} of {rows.test_available:,}"
    yield "Training rows", f"{rows.train:,} of {rows.train_available:,}, for probes and baselines"
    if rows.unlabelled:
        yield "Left out", f"{rows.unlabelled:,} rows without a label"
    yield "PCA", f"{found.dim} components of the raw columns. {_PCA}"
    health = found.health
    codes = (
        f"{health.active_units} of {health.dim} active, variance {health.least_variance:.2f} to "
        f"{health.greatest_variance:.2f}, largest |correlation| {health.max_correlation:.2f}, "
        f"{health.merged_rows:,} different rows share a vector"
    )
    yield "Codes", codes
    for note in found.notes:
        yield "Note", note
