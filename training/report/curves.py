"""What training told of itself: loss curves, and which candidate of `auto` won."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from training.report import svg
from training.report.scatter import CLASS_COLOURS

_WIDTH, _LEFT, _RIGHT = 620.0, 62.0, 600.0
_PANEL, _GAP = 128.0, 30.0
_MOST_POINTS = 200

Points = list[tuple[float, float]]


def loss_curves(history: Any) -> str:
    """Loss by gradient step of every candidate that made steps; empty text when none did.

    `history` holds curves by candidate: {"train": [[step, loss], …], "validation": […], …}, where
    "pretraining", "fine_tuning" and "decoder" may hold those of other stages. Each has a panel and
    a scale of its own: losses of two recipes, or of two layers, are not the same quantity.
    """
    drawn = [
        (name, _points(curve, "train"), _points(curve, "validation"))
        for name, curve in _stages(history or {})
        if isinstance(curve, dict)
    ]
    drawn = [curve for curve in drawn if curve[2]]
    if not drawn:
        return ""
    last = max(step for _, train, validation in drawn for step, _ in train + validation)
    x, parts, top = svg.Scale(0, last, _LEFT, _RIGHT), [], 0.0
    for place, (name, train, validation) in enumerate(drawn):
        parts += _panel(name, train, validation, x, top + 22, f"{place % CLASS_COLOURS}")
        top += 22 + _PANEL + _GAP
    axis = svg.x_axis(x, top - _GAP, "gradient steps", top=top - _GAP)
    names = ", ".join(f"{name} {min(v, key=_loss)[1]:.4g}" for name, _, v in drawn)
    told = f"Loss by step; least validation loss: {names}."
    return svg.picture(_WIDTH, top + 10, told, [*parts, *axis])


def _stages(history: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, curve in history.items():
        stages = curve if isinstance(curve, dict) else {}
        for number, layer in enumerate(stages.get("pretraining") or [], 1):
            yield f"{name}, layer {number}", layer
        yield name, curve
        if "fine_tuning" in stages:
            yield f"{name}, fine-tuned", stages["fine_tuning"]
        if "decoder" in stages:
            yield f"{name}, its decoder", stages["decoder"]


def _panel(
    name: str, train: Points, validation: Points, x: svg.Scale, top: float, style: str
) -> list[str]:
    losses = [loss for _, loss in train + validation]
    margin = (max(losses) - min(losses)) * 0.08 or 0.1
    y = svg.Scale(min(losses) - margin, max(losses) + margin, top + _PANEL, top)
    best = min(validation, key=_loss)
    dot = f'cx="{svg.number(x(best[0]))}" cy="{svg.number(y(best[1]))}"'
    return [
        svg.text(
            _LEFT, top - 8, f"{name}: best {best[1]:.4g} at step {best[0]:.0f}", style="group"
        ),
        *svg.y_axis(y, _LEFT, "loss", right=_RIGHT, about=4),
        _curve(train, x, y, f"curve thin s{style}"),
        _curve(validation, x, y, f"curve s{style}"),
        f'<circle {dot} r="4.5" class="k{style}"/>',
    ]


def candidates(selection: Any) -> tuple[str, str, list[tuple[str, str, str, str]]]:
    """Criterion and reference of `auto`'s choice, and its candidates, the best first.

    Of each: name, score, lead over the reference, and "chosen" for one. No rows when there was
    nothing to choose from.
    """
    scores = selection.get("scores") if isinstance(selection, dict) else None
    if not isinstance(scores, dict):
        return "", "", []
    errors, winner = selection.get("standard_errors", {}), selection.get("winner")
    first = next((name for name, error in errors.items() if not error), next(iter(scores)))
    rows = []
    for name in sorted(scores, key=scores.__getitem__, reverse=True):
        lead, error = 100 * (scores[name] - scores[first]), 100 * errors.get(name, 0.0)
        told = "" if name == first else f"{lead:+.2f} ± {error:.2f} points".replace("-", "−")
        rows.append((name, f"{scores[name]:.4f}", told, "chosen" if name == winner else ""))
    return str(selection.get("criterion", "")), first, rows


def _points(curve: dict[str, Any], name: str) -> Points:
    found = [(float(step), float(loss)) for step, loss in curve.get(name) or []]
    found = [point for point in found if math.isfinite(point[1])]
    step = max(1, len(found) // _MOST_POINTS)
    return found[::step]


def _loss(point: tuple[float, float]) -> float:
    return point[1]


def _curve(points: Sequence[tuple[float, float]], x: svg.Scale, y: svg.Scale, style: str) -> str:
    path = "L".join(f"{svg.number(x(step))} {svg.number(y(loss))}" for step, loss in points)
    return f'<path class="{style}" d="M{path}"/>' if points else ""
