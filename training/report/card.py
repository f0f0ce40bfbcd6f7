"""What an evaluation adds to a bundle's model card."""

from __future__ import annotations

from collections.abc import Iterable

from training.results import Evaluation

TITLE = "## Measured"


def with_measurements(card: str, found: Evaluation) -> str:
    """The Markdown `card` with the section "Measured" replaced, or added at its end.

    A later evaluation replaces an earlier one; all other sections stay as they are.
    """
    before, _, rest = card.partition(f"{TITLE}\n")
    after = rest[rest.find("\n## ") :] if "\n## " in rest else ""
    section = "\n".join((TITLE, "", *_measured(found)))
    return f"{before.rstrip() or '# Model card'}\n\n{section}\n{after}"


def _measured(found: Evaluation) -> Iterable[str]:
    yield f"**{found.verdict.headline}** {' '.join(found.verdict.sentences)}"
    yield ""
    if found.scores:
        rows = f"{found.rows.test:,} rows, {found.test_rows_are}"
        yield f"{found.metric} of `{found.label}` on {rows}:"
        yield ""
        yield from _score_table(found)
    elif found.hidden_columns is not None:
        hidden = found.hidden_columns
        yield f"R² of hidden columns: embedding {hidden.embedding:.3f}, PCA {hidden.pca:.3f}."
    health = found.health
    yield ""
    yield (
        f"Codes: {health.active_units} of {health.dim} active, largest |correlation| "
        f"{health.max_correlation:.2f}."
    )


def _score_table(found: Evaluation) -> Iterable[str]:
    yield "| representation | columns | linear | kNN | trees | linear fit, s |"
    yield "|---|---|---|---|---|---|"
    for encoding in found.encodings:
        name = encoding.representation
        linear, near, trees = (found.score(name, probe) for probe in ("linear", "kNN", "trees"))
        yield (
            f"| {name} | {encoding.columns} | {linear.score:.4f} ± {linear.standard_error:.4f} "
            f"| {near.score:.4f} | {trees.score:.4f} | {linear.fit_seconds:.4f} |"
        )
