"""The report's pictures, each a function from an evaluation to SVG text.

Colours are CSS classes that the page defines (`training/page.py`): c-embedding, c-pca, c-prepared,
c-random, c-raw for representations, k0 … k9 for classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from training import svg
from training.results import ColumnError, Evaluation, Map, ProbeName, Representation, Score
from training.verdict import seconds

WIDTH = 620.0
MOST_COLUMNS = 30
CLASS_COLOURS = 10

NAMES: dict[Representation, str] = {
    "embedding": "embedding",
    "PCA": "PCA",
    "prepared PCA": "PCA, our preparation",
    "random": "random projection",
    "raw": "raw columns",
}
STYLES: dict[Representation, str] = {
    "embedding": "c-embedding",
    "PCA": "c-pca",
    "prepared PCA": "c-prepared",
    "random": "c-random",
    "raw": "c-raw",
}
PROBES: tuple[ProbeName, ...] = ("linear", "kNN", "trees")

_LEFT, _RIGHT, _ROW = 160.0, 78.0, 21.0


def probe_bars(found: Evaluation) -> str:
    """Score of every probe on every representation, with whiskers of two standard errors."""
    chance = 0.5 if found.task == "two classes" else 0.0
    scale = svg.Scale(chance, 1.0, _LEFT, WIDTH - _RIGHT)
    parts: list[str] = []
    y = 6.0
    for probe in PROBES:
        parts.append(svg.text(0, y + 14, f"{probe} probe", style="group"))
        y += 22
        for score in (s for s in found.scores if s.probe == probe):
            parts += _score_bar(score, scale, y)
            y += _ROW
        y += 8
    axis = f"{found.metric} on rows never seen (right is better)"
    grid = svg.x_axis(scale, y, axis, top=6)
    return svg.picture(WIDTH, y + 42, _told_scores(found), [*grid, *parts])


def _score_bar(score: Score, scale: svg.Scale, y: float) -> list[str]:
    own = score.representation == "embedding"
    low, high = (scale(score.score + sign * 2 * score.standard_error) for sign in (-1, 1))
    end, middle = scale(score.score), y + 8
    strong = "value strong" if own else "value"
    return [
        svg.text(_LEFT - 8, y + 12, NAMES[score.representation], at="end", style=strong),
        svg.bar(_LEFT, y, end - _LEFT, 16, STYLES[score.representation]),
        svg.line(low, middle, high, middle, "whisker"),
        svg.line(low, middle - 3, low, middle + 3, "whisker"),
        svg.line(high, middle - 3, high, middle + 3, "whisker"),
        svg.text(max(high, end) + 6, y + 12, f"{score.score:.3f}", style=strong),
    ]


def _told_scores(found: Evaluation) -> str:
    told = [f"{NAMES[s.representation]} {s.score:.3f}" for s in found.scores if s.probe == "linear"]
    return f"Bars of {found.metric} by probe. Linear probe: {', '.join(told)}."


def fit_time_bars(found: Evaluation) -> str:
    """Seconds to fit linear and tree models, and to answer for kNN, on codes, PCA and raw."""
    parts: list[str] = []
    y = 6.0
    for probe in PROBES:
        rows = found.rows.test if probe == "kNN" else found.rows.train
        what = "answering" if probe == "kNN" else "fitting"
        parts.append(svg.text(0, y + 14, f"{probe}: {what} {rows:,} rows", style="group"))
        y += 22
        timed = [(s, _seconds(s)) for s in found.scores
                 if s.probe == probe and s.representation in ("embedding", "PCA", "raw")]  # fmt: skip
        most = max(value for _, value in timed)
        scale = svg.Scale(0, most or 1.0, _LEFT, WIDTH - _RIGHT)
        for score, value in timed:
            strong = "value strong" if score.representation == "embedding" else "value"
            parts += [
                svg.text(_LEFT - 8, y + 12, NAMES[score.representation], at="end", style=strong),
                svg.bar(_LEFT, y, scale(value) - _LEFT, 16, STYLES[score.representation]),
                svg.text(scale(value) + 6, y + 12, seconds(value), style=strong),
            ]
            y += _ROW
        y += 8
    parts.append(
        svg.text(
            (_LEFT + WIDTH - _RIGHT) / 2,
            y + 8,
            "seconds, each group to its own scale (left is better)",
            at="middle",
            style="axis",
        )  # fmt: skip
    )
    told = (
        f"Linear model fits in {seconds(found.score('embedding').fit_seconds)} on the embedding, "
    )
    told += f"{seconds(found.score('raw').fit_seconds)} on the raw columns."
    return svg.picture(WIDTH, y + 18, told, parts)


def _seconds(score: Score) -> float:
    return score.predict_seconds if score.probe == "kNN" else score.fit_seconds


def reconstruction_bars(found: Evaluation) -> str:
    """Error of each column given back by the decoder, a tick for PCA's; 1 is the column's mean."""
    ordered = sorted(found.reconstruction, key=_by_error)
    shown = _thinned(ordered)
    most = max([1.05, *(max(c.error, c.pca_error) for c in shown)])
    scale = svg.Scale(0, min(most, 2.0), _LEFT, WIDTH - 52)
    parts, y = [], 8.0
    for column in shown:
        middle = y + 8
        mark = scale(column.pca_error)
        parts += [
            svg.text(_LEFT - 8, y + 12, _short(column.column), at="end", style="value"),
            svg.bar(_LEFT, y + 1, scale(column.error) - _LEFT, 14, "c-embedding"),
            svg.line(mark, middle - 9, mark, middle + 9, "mark"),
            svg.text(
                max(scale(column.error), mark) + 6, y + 12, f"{column.error:.2f}", style="value"
            ),
        ]
        y += 20
    one = scale(1.0)
    parts.append(svg.line(one, 4, one, y, "limit"))
    axis = "error, 1 = no better than the mean or commonest value (left is better)"
    grid = svg.x_axis(scale, y, axis, top=4)
    legend = [
        svg.bar(_LEFT, y + 46, 22, 11, "c-embedding"),
        svg.text(_LEFT + 28, y + 56, "decoder of the embedding", style="value"),
        svg.line(_LEFT + 212, y + 44, _LEFT + 212, y + 60, "mark"),
        svg.text(_LEFT + 220, y + 56, "PCA of the same width", style="value"),
    ]
    better = sum(c.error < c.pca_error for c in ordered)
    told = f"Reconstruction error by column; below PCA's on {better} of {len(ordered)} columns."
    return svg.picture(WIDTH, y + 66, told, [*grid, *parts, *legend])


def _by_error(column: ColumnError) -> float:
    return column.error


def _thinned(ordered: Sequence[ColumnError]) -> list[ColumnError]:
    """At most 30 columns, spread evenly from the best to the worst."""
    if len(ordered) <= MOST_COLUMNS:
        return list(ordered)
    step = (len(ordered) - 1) / (MOST_COLUMNS - 1)
    return [ordered[round(i * step)] for i in range(MOST_COLUMNS)]


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def scatter(found: Evaluation) -> str:
    """Test rows in two dimensions, coloured by class, or by quantile of a number."""
    drawn, size = found.map, 420.0
    left, top, right = 46.0, 8.0, WIDTH - 150
    x, y = _span(drawn.x, left, right), _span(drawn.y, size, top)
    groups, names = _groups(found)
    parts = [
        *svg.x_axis(x, size, drawn.axes[0], top=top),
        *svg.y_axis(y, left, drawn.axes[1], right=right),
    ]
    for place, rows in enumerate(groups):
        dots = "".join(f"M{svg.number(x(drawn.x[i]))} {svg.number(y(drawn.y[i]))}h0" for i in rows)
        parts.append(f'<path class="dots s{place % CLASS_COLOURS}" d="{dots}"/>')
    shown = names if len(names) <= 18 else names[:17]
    for place, name in enumerate(shown):
        at = top + 10 + 21 * place
        parts.append(
            f'<circle cx="{right + 20:.0f}" cy="{at:.0f}" r="5" class="k{place % CLASS_COLOURS}"/>'
        )
        parts.append(svg.text(right + 31, at + 4, _short(name)[:16], style="value"))
    if len(names) > len(shown):
        more = f"and {len(names) - len(shown)} more"
        parts.append(svg.text(right + 31, top + 14 + 21 * len(shown), more, style="tick"))
    if len(names) > 3 and found.task == "classes":
        parts += _names_at_centres(drawn, groups, names, x, y)
    told = f"{len(drawn.x):,} unseen rows in two dimensions"
    told += f", coloured by {found.label}." if found.label else "."
    return svg.picture(WIDTH, size + 42, told, parts)


def _span(values: Sequence[float], start: float, end: float) -> svg.Scale:
    """A scale over all but the outermost half percent, so that one stray row does not shrink all."""
    ordered = sorted(values)
    cut = len(ordered) // 200
    low, high = ordered[cut], ordered[-1 - cut]
    margin = (high - low) * 0.05 or 1.0
    return svg.Scale(low - margin, high + margin, start, end)


def _groups(found: Evaluation) -> tuple[list[list[int]], list[str]]:
    labels = found.map.label
    if labels is None:
        return [list(range(len(found.map.x)))], ["unseen row"]
    if found.task != "numbers":
        count = len(found.classes)
        groups: list[list[int]] = [[] for _ in range(count)]
        for row, value in enumerate(labels):
            if value >= 0:
                groups[int(value)].append(row)
        named = [f"{found.label} = {c}" if count == 2 else c for c in found.classes]
        return groups, named
    ordered = sorted(labels)
    cuts = [ordered[len(ordered) * i // 5] for i in range(1, 5)]
    groups = [[] for _ in range(5)]
    for row, value in enumerate(labels):
        groups[sum(value >= cut for cut in cuts)].append(row)
    names = [f"under {cuts[0]:.4g}", *(f"from {cut:.4g}" for cut in cuts)]
    return groups, names


def _names_at_centres(
    drawn: Map, groups: Sequence[Sequence[int]], names: Sequence[str], x: svg.Scale, y: svg.Scale
) -> list[str]:
    parts = []
    for rows, name in zip(groups, names, strict=True):
        if rows and len(name) <= 12:
            middle = [sorted(axis[i] for i in rows)[len(rows) // 2] for axis in (drawn.x, drawn.y)]
            parts.append(
                svg.text(x(middle[0]), y(middle[1]) + 5, name, at="middle", style="centre")
            )
    return parts
