"""A few strokes of SVG: scales, axes and bars that take their colours from the page around them.

Drawn by hand rather than by a plotting library so that one picture serves light and dark pages,
prints, stays readable text for screen readers, and weighs a few kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


def number(value: float) -> str:
    """A coordinate, short.

    >>> number(3.14159), number(2.0)
    ('3.1', '2')
    """
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, *, at: str = "start", style: str = "") -> str:
    """Words at a point; `at` is start, middle or end; `style` a CSS class."""
    kind = f' class="{style}"' if style else ""
    anchor = "" if at == "start" else f' text-anchor="{at}"'
    return f'<text x="{number(x)}" y="{number(y)}"{anchor}{kind}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line of a CSS class."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {ends} class="{style}"/>'


def bar(x: float, y: float, width: float, height: float, style: str) -> str:
    """A bar growing to the right, its far corners rounded; nothing when it has no width."""
    width = max(width, 0.0)
    r = min(3.0, width / 2)
    right, bottom = x + width, y + height
    return (
        f'<path class="{style}" d="M{number(x)} {number(y)}H{number(right - r)}'
        f"Q{number(right)} {number(y)} {number(right)} {number(y + r)}V{number(bottom - r)}"
        f'Q{number(right)} {number(bottom)} {number(right - r)} {number(bottom)}H{number(x)}Z"/>'
    )


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture that scales with the page; `title` is its alternative text."""
    return (
        f'<svg viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class Scale:
    """Values `low` … `high` on pixels `start` … `end`, straight or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of `value`, held within the scale."""
        low, high = self._bent(self.low), self._bent(self.high)
        share = (self._bent(min(max(value, self.low), self.high)) - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)

    def _bent(self, value: float) -> float:
        return math.log10(value) if self.log else value


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round values from `low` to `high`, `about` as many as asked.

    >>> ticks(0.5, 1.0), ticks(0, 23)
    ([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0, 5, 10, 15, 20])
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    magnitude = 10 ** math.floor(math.log10(span / about))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10) if s * magnitude >= span / about * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-6:
        value = round(first * step, 10)
        found.append(int(value) if value == int(value) and step >= 1 else value)
        first += 1
    return found


def label(value: float) -> str:
    """A tick's value as short as it is exact enough.

    >>> label(0.5), label(20), label(1500000), label(0.0001)
    ('0.5', '20', '1.5e+06', '0.0001')
    """
    return f"{value:.4g}"


def x_axis(scale: Scale, y: float, words: str, *, top: float, about: int = 5) -> list[str]:
    """Grid lines from `top` down to `y`, their values below, and what they measure."""
    parts = []
    for value in ticks(scale.low, scale.high, about=about):
        x = scale(value)
        parts += [
            line(x, top, x, y, "grid"),
            text(x, y + 15, label(value), at="middle", style="tick"),
        ]
    parts.append(text((scale.start + scale.end) / 2, y + 33, words, at="middle", style="axis"))
    return parts


def y_axis(scale: Scale, x: float, words: str, *, right: float, about: int = 5) -> list[str]:
    """Grid lines from `x` to `right`, their values on the left, and what they measure."""
    parts = []
    for value in ticks(scale.low, scale.high, about=about):
        y = scale(value)
        parts += [
            line(x, y, right, y, "grid"),
            text(x - 6, y + 4, label(value), at="end", style="tick"),
        ]
    middle = (scale.start + scale.end) / 2
    turn = f'transform="rotate(-90 13 {number(middle)})"'
    parts.append(f"<g {turn}>{text(13, middle, words, at='middle', style='axis')}</g>")
    return parts
