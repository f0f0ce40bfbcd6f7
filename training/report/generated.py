"""The page of drawn rows beside real ones, self-contained like the report of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from pipeline.errors import PublishError
from training.distributions import ColumnLikeness
from training.fidelity import Likeness
from training.report import svg
from training.report.column_bars import MOST_COLUMNS, short
from training.report.page import FIGURE, PAGE, SECTION, STYLE, TILE
from training.two_sample import TwoSampleTest

GENERATED_FILE = "generated.html"

_WIDTH, _LEFT, _RIGHT = 620.0, 190.0, 90.0
_PANEL, _PANEL_HEIGHT, _ACROSS = 300.0, 118.0, 2
_ALIKE = 0.55
# Of what trees see in shuffled columns, the share that they no longer see in drawn rows.
_SOME, _MUCH = 0.05, 0.5

_MORE_STYLE = """
.c-real{fill:var(--pca)}.c-drawn{fill:var(--embedding);fill-opacity:.62}
.heat{stroke:var(--card);stroke-width:.5}.h-up{fill:var(--k1)}.h-down{fill:var(--k0)}
.h-none{fill:var(--grid)}
"""
_EYEBROW = "parquet2vec · evaluation"


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
    page = PAGE.substitute(
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
    return page.replace(_EYEBROW, "parquet2vec · generated rows")


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


def test_bars(found: Likeness) -> str:
    """ROC AUC of every test, with its interval."""
    scale = svg.Scale(0.4, 1.0, _LEFT, _WIDTH - _RIGHT)
    parts: list[str] = []
    y = 6.0
    for classifier in ("trees", "linear"):
        title = "boosted trees" if classifier == "trees" else "linear model"
        parts.append(svg.text(0, y + 14, title, style="group"))
        y += 22
        for test in (t for t in found.tests if t.classifier == classifier):
            own = test.sample == "generated rows"
            strong = "value strong" if own else "value"
            low, high = scale(test.low), scale(test.high)
            parts += [
                svg.text(_LEFT - 8, y + 12, test.sample, at="end", style=strong),
                svg.bar(_LEFT, y, scale(test.auc) - _LEFT, 16, "c-embedding" if own else "c-pca"),
                svg.line(low, y + 8, high, y + 8, "whisker"),
                svg.line(low, y + 5, low, y + 11, "whisker"),
                svg.line(high, y + 5, high, y + 11, "whisker"),
                svg.text(max(high, scale(test.auc)) + 6, y + 12, f"{test.auc:.3f}", style=strong),
            ]
            y += 21
        y += 8
    half = scale(0.5)
    parts.append(svg.line(half, 6, half, y, "limit"))
    grid = svg.x_axis(scale, y, "ROC AUC; 0.5 (dashed) = cannot be told apart", top=6)
    trees = found.auc("generated rows", "trees")
    told = f"Trees tell drawn from real rows with ROC AUC {trees.auc:.3f}."
    return svg.picture(_WIDTH, y + 42, told, [*grid, *parts])


def correlations(found: Likeness) -> str:
    """Differences of correlations as a grid: colour is the sign, opacity the size."""
    count = len(found.pairs)
    left, top, right = 150.0, 8.0, _WIDTH - 10
    step = min(26.0, (right - left) / max(1, count))
    parts = []
    for i in range(count):
        name = svg.text(left - 6, top + step * i + step / 2 + 4, short(found.pairs[i]), at="end",
                        style="tick")  # fmt: skip
        parts += [name] if step >= 9 or i % 2 == 0 else []
        for j in range(i):
            gap = found.correlation_generated[i][j] - found.correlation_real[i][j]
            parts.append(_square(left + step * j, top + step * i, step, gap))
    y = top + step * count + 22
    legend = ((left, -0.5, "drawn less"), (left + 130, 0.0, "the same"), (left + 250, 0.5, "more"))
    for x, gap, words in legend:
        parts += [_square(x, y - 11, 14, gap), svg.text(x + 20, y, words, style="tick")]
    parts.append(svg.text(left + 320, y, "full colour: 0.5 or over", style="tick"))
    told = f"Correlations differ by {found.correlation_gap:.3f} on average."
    return svg.picture(_WIDTH, y + 12, told, parts)


def _square(x: float, y: float, size: float, gap: float) -> str:
    strength = min(1.0, abs(gap) / 0.5)
    style = "h-none" if strength < 0.04 else ("h-up" if gap > 0 else "h-down")
    opacity = 1.0 if style == "h-none" else strength
    at = f'x="{svg.number(x)}" y="{svg.number(y)}" width="{size:.1f}" height="{size:.1f}"'
    return f'<rect {at} class="heat {style}" fill-opacity="{opacity:.2f}"/>'


def histograms(columns: list[ColumnLikeness]) -> str:
    """Two bars a value or range, one panel a column."""
    parts: list[str] = []
    for place, column in enumerate(columns):
        x = (place % _ACROSS) * (_PANEL + 20)
        parts += _panel(column, x, (place // _ACROSS) * _PANEL_HEIGHT)
    height = -(-len(columns) // _ACROSS) * _PANEL_HEIGHT
    told = "; ".join(f"{c.name} {c.measure} {c.distance:.3f}" for c in columns[:5])
    return svg.picture(_WIDTH, height, f"Distributions. {told}.", parts)


def _panel(column: ColumnLikeness, x: float, y: float) -> list[str]:
    title = f"{short(column.name)}"
    parts = [
        svg.text(x, y + 14, title, style="group"),
        svg.text(x + _PANEL, y + 14, f"{column.measure} {column.distance:.3f}", at="end",
                 style="tick"),
    ]  # fmt: skip
    most = max([0.0, *(max(bar.real, bar.generated) for bar in column.bars)]) or 1.0
    base, tall = y + 88, 62.0
    step = _PANEL / max(1, len(column.bars))
    for place, bar in enumerate(column.bars):
        left, wide = x + place * step, max(1.0, step - 2)
        for share, style, inset in ((bar.real, "c-real", 0.0), (bar.generated, "c-drawn", 0.22)):
            height = tall * share / most
            at = left + inset * wide
            size = f'width="{wide * (1 - 2 * inset):.1f}" height="{height:.1f}"'
            parts.append(
                f'<rect x="{svg.number(at)}" y="{base - height:.1f}" {size} class="{style}"/>'
            )
    parts.append(svg.line(x, base, x + _PANEL, base, "grid"))
    return [*parts, *_names(column, x, base + 14, step)]


def _names(column: ColumnLikeness, x: float, y: float, step: float) -> list[str]:
    if not column.bars:
        return []
    if column.measure == "KS":
        ends = ((x, column.bars[0].name, "start"), (x + _PANEL, column.bars[-1].name, "end"))
        return [svg.text(at, y, name, at=anchor, style="tick") for at, name, anchor in ends]
    most = max(3, int(step / 7))
    return [
        svg.text(x + step * (place + 0.5), y, _cut(bar.name, most), at="middle", style="tick")
        for place, bar in enumerate(column.bars)
    ]


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _figure(title: str, words: str, picture: str) -> str:
    return FIGURE.substitute(title=escape(title), words=escape(words), picture=picture)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
