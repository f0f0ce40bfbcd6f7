"""Pictures of drawn rows beside real ones: tests, correlations, distributions of columns."""

from __future__ import annotations

from training.distributions import ColumnLikeness
from training.fidelity import Likeness
from training.report import svg
from training.report.column_bars import short

_WIDTH, _LEFT, _RIGHT = 620.0, 190.0, 90.0
_PANEL, _PANEL_HEIGHT, _ACROSS = 300.0, 118.0, 2


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
