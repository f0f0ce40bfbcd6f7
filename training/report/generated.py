"""The page of drawn rows beside real ones, self-contained like the report of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from pipeline.errors import PublishError
from training.fidelity import Likeness
from training.report.column_bars import MOST_COLUMNS, short
from training.report.likeness import correlations, histograms, test_bars
from training.report.page import FIGURE, PAGE, SECTION, STYLE, TILE
from training.two_sample import TwoSampleTest

GENERATED_FILE = "generated.html"

_ALIKE = 0.55
# Of what trees see in shuffled columns, the share that they no longer see in drawn rows.
_SOME, _MUCH = 0.05, 0.5

_MORE_STYLE = """
.c-real{fill:var(--pca)}.c-drawn{fill:var(--embedding);fill-opacity:.62}
.heat{stroke:var(--card);stroke-width:.5}.h-up{fill:var(--k1)}.h-down{fill:var(--k0)}
.h-none{fill:var(--grid)}
"""


def write_generated(path: str | Path, found: Likeness) -> Path:
    """Write the page of `found` to `path`, and give it back.

    Raises:
        PublishError: if it cannot be written.
    """
    page = Path(path)
    stage = page.with_name(f".{page.name}")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        stage.write_text(html(found), encoding="utf-8")
        stage.replace(page)
    except OSError as error:
        raise PublishError(f"cannot write the page {page}: {error.strerror}") from None
    return page


def html(found: Likeness) -> str:
    """The whole page as text; it loads nothing and runs nothing."""
    kind, headline, sentences = verdict(found)
    return PAGE.substitute(
        about="generated rows",
        title=escape(f"parquet2vec: generated rows, {found.recipe}"),
        style=STYLE + _MORE_STYLE,
        kind=kind,
        headline=escape(headline),
        sentences=escape(sentences),
        tiles="".join(
            TILE.substitute(name=escape(n), value=escape(v), aside=escape(a))
            for n, v, a in _tiles(found)
        ),
        left="".join(_left(found)),
        right="".join(_right(found)),
        tables="".join(_tables(found)),
        footer=escape(f"Bundle {found.model[:12]}; drawn rows from {found.generated}."),
    )


def verdict(found: Likeness) -> tuple[str, str, str]:
    """Kind, headline and sentences: what the two-sample tests say, in words."""
    trees = found.auc("generated rows", "trees")
    shuffled = found.auc("columns shuffled", "trees")
    floor = found.auc("real training rows", "trees")
    linear = found.auc("generated rows", "linear")
    told = (
        f"Shown one drawn and one real row, boosted trees name the drawn one "
        f"{_percent(trees.auc)} of the time and a linear model {_percent(linear.auc)}; 50 % is "
        f"guessing. For the trees it is {_percent(floor.auc)} with real training rows in place "
        f"of drawn ones, and {_percent(shuffled.auc)} with real columns shuffled one by one."
    )
    if trees.low <= max(_ALIKE, floor.high):
        return "embedding", "Drawn rows can hardly be told from real ones", told
    kept = (shuffled.auc - trees.auc) / max(shuffled.auc - 0.5, 1e-6)
    if trees.high < shuffled.low and kept >= _SOME:
        share = "much" if kept >= _MUCH else "some"
        said = f"but keep {share} of how columns hang together"
        return "fair", f"Drawn rows can be told from real ones, {said}", told
    return "raw_is_better", "Drawn rows are no better than shuffled columns", told


def summary(found: Likeness) -> str:
    """The verdict in a line."""
    _, headline, sentences = verdict(found)
    return f"{headline}. {sentences}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _tiles(found: Likeness) -> Iterable[tuple[str, str, str]]:
    trees, linear = (found.auc("generated rows", name) for name in ("trees", "linear"))
    worst = max(found.columns, key=lambda column: column.distance)
    nulls = max(found.columns, key=lambda c: abs(c.nulls_real - c.nulls_generated))
    gap = abs(nulls.nulls_real - nulls.nulls_generated)
    yield "Told apart by trees, ROC AUC", f"{trees.auc:.3f}", _interval(trees)
    yield "… by a linear model", f"{linear.auc:.3f}", _interval(linear)
    yield "Largest distance", f"{worst.distance:.3f}", f"{worst.measure} of {short(worst.name)}"
    yield "Null rates", f"{100 * gap:.2f}", f"points apart at most, in {short(nulls.name)}"
    yield "Correlations", f"{found.correlation_gap:.3f}", "mean difference of two columns' own"


def _interval(test: TwoSampleTest) -> str:
    return f"95 % interval {test.low:.3f} to {test.high:.3f}; 0.5 = cannot be told"


def _left(found: Likeness) -> Iterable[str]:
    yield _figure(
        "Can a classifier tell them from real rows?",
        f"{found.rows:,} held-out real rows against as many others; fitted on one half, scored on "
        "the other. Left is better.",
        test_bars(found),
    )
    yield _figure(
        "Do columns hang together as they did?",
        "Rank correlation of two columns, drawn minus real; categories by their commonest values.",
        correlations(found),
    )


def _right(found: Likeness) -> Iterable[str]:
    columns = sorted(found.columns, key=lambda column: -column.distance)
    count = len(columns)
    some = f"; the {MOST_COLUMNS} that differ most of {count}" if count > MOST_COLUMNS else ""
    yield _figure(
        "Is every column distributed as it was?",
        f"Shares of rows by value or range, grey real, green drawn, most different first{some}.",
        histograms(columns[:MOST_COLUMNS]),
    )


def _tables(found: Likeness) -> Iterable[str]:
    rows = [
        (c.name, c.kind, c.measure, f"{c.distance:.4f}", f"{c.nulls_real:.4f}",
         f"{c.nulls_generated:.4f}")
        for c in sorted(found.columns, key=lambda column: -column.distance)
    ]  # fmt: skip
    head = ("column", "kind", "measure", "distance", "nulls, real", "nulls, drawn")
    words = (
        "KS: largest difference of the shares of rows up to a value. Total variation: share of "
        "rows that would have to change. Both are 0 for equal distributions and 1 for disjoint "
        f"ones; two samples of {found.rows:,} real rows differ by about "
        f"{1.2 / found.rows**0.5:.3f}."
    )
    yield SECTION.substitute(title="All columns", words=escape(words), body=_table(head, rows))
    tests = [
        (t.sample, t.classifier, f"{t.auc:.4f}", f"{t.low:.4f} to {t.high:.4f}")
        for t in found.tests
    ]
    about = (
        "Classifier two-sample tests (Lopez-Paz & Oquab 2017). Real training rows show what "
        "chance, and drift between the parts of the split, do alone; shuffled columns have every "
        "column right and nothing else."
    )
    body = _table(("against held-out real rows", "classifier", "ROC AUC", "95 % interval"), tests)
    yield SECTION.substitute(title="All tests", words=escape(about), body=body)
    facts = [("Real rows", found.rows_are), ("Conditions", ", ".join(found.where) or "none")]
    facts += [("Note", note) for note in found.notes]
    yield SECTION.substitute(title="What was compared", words="", body=_table(("", ""), facts))


def _figure(title: str, words: str, picture: str) -> str:
    return FIGURE.substitute(title=escape(title), words=escape(words), picture=picture)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
