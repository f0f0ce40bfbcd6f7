"""The pictures of a destination's history: one bar for each version, oldest on the left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from html import escape

from flows.history import Entry, History
from flows.wording import count_of, moment, said, shortened, span
from training.report import svg
from training.report.svg import Scale

WIDTH, HEIGHT = 620.0, 216.0
LEFT, RIGHT, TOP, FOOT = 62.0, 604.0, 22.0, 178.0
WIDEST_SLOT = 44.0
COLOURS = 10
MOST_MODELS = 4
MOST_EXCESS = 4.0
# Narrow windows show letters larger than others do.
_LETTER_WIDTH = 8.2
_DATE_WIDTH = 92.0

Bar = tuple[float, str]


def rows_chart(history: History) -> str:
    """Rows of each version, coloured by its model; what readers see is marked."""
    entries, models = history.entries, history.models
    top = max(entry.version.rows for entry in entries)
    chart = _Chart(entries, top=top, shown=count_of, what="rows")
    for place, entry in enumerate(entries):
        version = entry.version
        colour = models.index(version.model) % COLOURS
        faded = " gone" if entry.state == "deleted" else ""
        chart.bars(place, [(version.rows, f"k{colour}{faded}")], f"{version.rows:,} rows")
        if entry is history.shown:
            chart.mark(place, version.rows)
    return chart.drawn("Rows of each version", _legend(models))


def seconds_chart(history: History) -> str | None:
    """Wall seconds of each run; None if no version says."""
    seconds = [one.version.made.seconds if one.version.made else None for one in history.entries]
    known = [value for value in seconds if value is not None]
    if not known:
        return None
    chart = _Chart(history.entries, top=max(known), shown=span, what="time")
    for place, value in enumerate(seconds):
        if value is not None:
            chart.bars(place, [(value, "c-embedding")], span(value))
    return chart.drawn("Time that each run took", ())


def work_chart(history: History) -> str | None:
    """Rows that were computed, resumed and taken over; None if no version says."""
    made = [entry.version.made for entry in history.entries]
    known = [one for one in made if one is not None]
    if not known:
        return None
    top = max(one.computed.rows + one.resumed.rows + one.reused.rows for one in known)
    chart = _Chart(history.entries, top=top, shown=count_of, what="rows")
    for place, one in enumerate(made):
        if one is not None:
            portions = {"computed": one.computed, "resumed": one.resumed, "taken over": one.reused}
            styles = ("c-embedding", "c-raw", "c-random")
            rows = [float(portion.rows) for portion in portions.values()]
            bars = list(zip(rows, styles, strict=True))
            told = ", ".join(f"{p.rows:,} {what}" for what, p in portions.items() if p.rows)
            chart.bars(place, bars, told or "no rows")
    legend = [("c-embedding", "computed"), ("c-raw", "resumed"), ("c-random", "taken over")]
    return chart.drawn("Rows that each run computed and took over", legend)


def drift_chart(history: History) -> str | None:
    """The largest difference of each run, in units of what is allowed; None if there is none."""
    found = [entry.excess for entry in history.entries]
    if all(excess is None for excess in found):
        return None
    top = min(MOST_EXCESS, max(1.25, *(excess or 0.0 for excess in found)))
    chart = _Chart(history.entries, top=top, shown=svg.label, what="of what is allowed")
    for place, (entry, excess) in enumerate(zip(history.entries, found, strict=True)):
        if excess is None:
            chart.missing(place, "not monitored" if entry.drift is None else "nothing to compare")
            continue
        drifted = entry.drift is not None and entry.drift.drifted
        told = f"drift in {', '.join(entry.moved[:3])}" if drifted else "no drift"
        chart.bars(
            place,
            [(max(excess, 0.0), "c-bad" if drifted else "c-pca")],
            f"{told}; {excess:.2f} of what is allowed",
        )
    chart.limit(1.0)
    legend = [("c-pca", "no drift"), ("c-bad", "drift"), ("c-none", "not compared")]
    return chart.drawn("The largest difference that each run showed", legend)


class _Chart:
    """Bars over slots of equal width, a value axis on the left, dates below."""

    def __init__(
        self, entries: Sequence[Entry], *, top: float, shown: Callable[[float], str], what: str
    ) -> None:
        self._entries = entries
        self._scale = Scale(0.0, top or 1.0, FOOT, TOP)
        self._slot = min(WIDEST_SLOT, (RIGHT - LEFT) / len(entries))
        self._grid = list(_value_axis(self._scale, shown, what))
        self._parts: list[str] = []

    def bars(self, place: int, bars: Sequence[Bar], told: str) -> None:
        """Bars of one version, each on top of the one before; `told` is what hovering shows."""
        foot = 0.0
        drawn = []
        for value, style in bars:
            low, high = self._scale(foot), self._scale(foot + value)
            if value > 0:
                drawn.append(self._box(place, high, max(low - high, 0.6), style))
            foot += value
        self._parts.append(f"<g>{self._title(place, told)}{''.join(drawn)}</g>")

    def missing(self, place: int, told: str) -> None:
        """A stroke on the ground where a version has no value."""
        box = self._box(place, FOOT - 2, 2, "c-none")
        self._parts.append(f"<g>{self._title(place, told)}{box}</g>")

    def mark(self, place: int, value: float) -> None:
        """A triangle above the bar of a version."""
        x, y = self._middle(place), self._scale(value) - 3
        shape = f"M{x:.1f} {y:.1f}l-5 -8h10z"
        title = "<title>what readers see</title>"
        self._parts.append(f'<path class="reader" d="{shape}">{title}</path>')

    def limit(self, value: float) -> None:
        """A line across at `value`."""
        y = self._scale(value)
        self._parts.append(svg.line(LEFT, y, RIGHT, y, "limit"))

    def drawn(self, title: str, legend: Iterable[tuple[str, str]]) -> str:
        """The whole picture."""
        parts = [*self._grid, *self._parts, *self._dates(), *_legend_parts(legend)]
        return svg.picture(WIDTH, HEIGHT, title, parts)

    def _middle(self, place: int) -> float:
        return LEFT + self._slot * (place + 0.5)

    def _box(self, place: int, y: float, height: float, style: str) -> str:
        gap = min(2.0, self._slot / 5)
        x, width = LEFT + self._slot * place + gap / 2, self._slot - gap
        return (
            f'<rect class="{style}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" '
            f'height="{height:.1f}"/>'
        )

    def _title(self, place: int, told: str) -> str:
        version = self._entries[place].version
        words = f"{version.run_id[:12]}, {moment(version.published)}: {told}"
        return f"<title>{escape(said(words))}</title>"

    def _dates(self) -> Iterable[str]:
        days = [entry.version.published for entry in self._entries]
        shown = _date_format(days)
        room = math.ceil(_DATE_WIDTH / self._slot)
        before = ""
        for place in range(0, len(days), room):
            told = shown(days[place])
            if told != before:
                # The first one must not reach below the values.
                x, at = (LEFT, "start") if place == 0 else (self._middle(place), "middle")
                yield svg.text(x, FOOT + 16, told, at=at, style="tick")
            before = told


def _value_axis(scale: Scale, shown: Callable[[float], str], what: str) -> Iterable[str]:
    for value in svg.ticks(scale.low, scale.high, about=4):
        y = scale(value)
        yield svg.line(LEFT, y, RIGHT, y, "grid")
        yield svg.text(LEFT - 8, y + 4, shown(value), at="end", style="tick")
    yield svg.text(0, 12, what, style="axis")


def _date_format(days: Sequence[str]) -> Callable[[str], str]:
    """How to write moments so that they differ, and no longer."""
    if len({day[:10] for day in days}) == 1:
        return lambda day: day[11:16]
    if len({day[:4] for day in days}) == 1:
        return _day_of_year
    return lambda day: day[:10]


def _day_of_year(day: str) -> str:
    try:
        found = datetime.fromisoformat(day)
    except ValueError:
        return day[:10]
    return f"{found.day} {found:%b}"


def _legend(models: Sequence[str]) -> list[tuple[str, str]]:
    """Colours of models, the newest last; those before the last few are only counted."""
    places = range(len(models))[-MOST_MODELS:]
    named = [(f"k{place % COLOURS}", models[place][:8]) for place in places]
    more = len(models) - len(named)
    return [("", f"{more} before, then"), *named] if more else named


def _legend_parts(legend: Iterable[tuple[str, str]]) -> Iterable[str]:
    x, y = LEFT, HEIGHT - 4
    for style, words in legend:
        if style:
            box = f'x="{x:.0f}" y="{y - 9:.0f}" width="10" height="10" rx="2"'
            yield f'<rect class="{style}" {box}/>'
            x += 15
        words = shortened(words, 24)
        yield svg.text(x, y, words, style="tick")
        x += _LETTER_WIDTH * len(words) + 14
