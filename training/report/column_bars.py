"""Pictures of what codes keep of each column, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

from training.report import svg
from training.results import ColumnError, Evaluation, HiddenColumn, HiddenColumns

WIDTH = 620.0
MOST_COLUMNS = 30

_LEFT, _RIGHT = 160.0, 124.0
_TOP, _STEP = 22.0, 20.0


def reconstruction_bars(found: Evaluation) -> str:
    """Error of each column given back by the decoder, a tick for PCA's; 1 is the column's mean."""
    ordered = sorted(found.reconstruction, key=_by_error)
    shown = _thinned(ordered)
    most = max([1.05, *(max(c.error, c.pca_error) for c in shown)])
    scale = svg.Scale(0, min(most, 2.0), _LEFT, WIDTH - _RIGHT)
    parts, y = _head(), _TOP
    for column in shown:
        parts += _row(column.column, column.error, column.pca_error, scale, y)
        y += _STEP
    one = scale(1.0)
    parts.append(svg.line(one, _TOP - 4, one, y, "limit"))
    axis = "error, 1 = no better than the mean or commonest value (left is better)"
    grid = svg.x_axis(scale, y, axis, top=_TOP - 4)
    better = sum(c.error < c.pca_error for c in ordered)
    told = f"Reconstruction error by column; below PCA's on {better} of {len(ordered)} columns."
    return svg.picture(WIDTH, y + 66, told, [*grid, *parts, *_legend(y)])


def _head() -> list[str]:
    return [
        svg.text(WIDTH - 52, 11, "embedding", at="end", style="tick"),
        svg.text(WIDTH - 6, 11, "PCA", at="end", style="tick"),
    ]


def _row(
    name: str, own: float, pca: float, scale: svg.Scale, y: float, *, style: str = "value"
) -> list[str]:
    mark = scale(pca)
    return [
        svg.text(_LEFT - 8, y + 12, short(name), at="end", style=style),
        svg.bar(_LEFT, y + 1, scale(own) - _LEFT, 14, "c-embedding"),
        svg.line(mark, y - 1, mark, y + 17, "mark"),
        svg.text(WIDTH - 52, y + 12, f"{own:.2f}", at="end", style=f"{style} strong"),
        svg.text(WIDTH - 6, y + 12, f"{pca:.2f}", at="end", style=style),
    ]


def _by_error(column: ColumnError) -> float:
    return column.error


def _thinned(ordered: Sequence[ColumnError]) -> list[ColumnError]:
    """At most 30 columns, spread evenly from the best to the worst."""
    if len(ordered) <= MOST_COLUMNS:
        return list(ordered)
    step = (len(ordered) - 1) / (MOST_COLUMNS - 1)
    return [ordered[round(i * step)] for i in range(MOST_COLUMNS)]


def hidden_bars(hidden: HiddenColumns) -> str:
    """R² of columns hidden from the input, a bar for the embedding and a tick for PCA."""
    scale = svg.Scale(0, 1, _LEFT, WIDTH - _RIGHT)
    parts = _head() + _row(
        "mean of all", hidden.embedding, hidden.pca, scale, _TOP, style="value strong"
    )
    y = _TOP + _STEP + 8
    for column in sorted(hidden.columns, key=_by_r_squared):
        parts += _row(column.column, column.embedding, column.pca, scale, y)
        y += _STEP
    axis = "R², share of variance predicted (right is better)"
    grid = svg.x_axis(scale, y, axis, top=_TOP - 4)
    told = f"R² of hidden columns: embedding {hidden.embedding:.3f}, PCA {hidden.pca:.3f}."
    return svg.picture(WIDTH, y + 66, told, [*grid, *parts, *_legend(y)])


def _by_r_squared(column: HiddenColumn) -> float:
    return -column.embedding


def _legend(y: float) -> list[str]:
    return [
        svg.bar(_LEFT, y + 46, 22, 11, "c-embedding"),
        svg.text(_LEFT + 28, y + 56, "embedding", style="value"),
        svg.line(_LEFT + 112, y + 44, _LEFT + 112, y + 60, "mark"),
        svg.text(_LEFT + 120, y + 56, "PCA of the same width", style="value"),
    ]


def short(name: str) -> str:
    """A column's name, cut to fit beside a bar."""
    return name if len(name) <= 22 else f"{name[:21]}…"
