"""A picture of rows in two dimensions, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

from training.report import svg
from training.report.column_bars import short
from training.results import Evaluation, Map

WIDTH = 620.0
CLASS_COLOURS = 10


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
        parts.append(svg.text(right + 31, at + 4, short(name)[:16], style="value"))
    if len(names) > len(shown):
        more = f"and {len(names) - len(shown)} more"
        parts.append(svg.text(right + 31, top + 14 + 21 * len(shown), more, style="tick"))
    if len(names) > 3 and found.task == "classes":
        parts += _names_at_centres(drawn, groups, names, x, y)
    told = f"{len(drawn.x):,} unseen rows in two dimensions"
    told += f", coloured by {found.label}." if found.label else "."
    return svg.picture(WIDTH, size + 42, told, parts)


def _span(values: Sequence[float], start: float, end: float) -> svg.Scale:
    """A scale over all but the outermost half percent, so that no stray row shrinks all."""
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
