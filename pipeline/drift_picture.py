"""The picture of a drift report: what moved, by how much, and how the worst columns look now.

One SVG without scripts or fonts of its own; it follows the reader's light or dark setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from pipeline.drift_report import ColumnDrift, DriftReport, Finding
from pipeline.errors import printable
from pipeline.profile import Counted, Gauge, RunProfile

BARS, HISTOGRAMS = 14, 4
_WIDTH, _MARGIN, _TOP = 980, 24, 92
_ROW, _NAME, _BAR, _LIMITS = 30, 170, 150, 3.0
_LEFT, _CHART, _CHART_ROW = 524, 432, 172
_STYLE = """
svg{--paper:#fff;--ink:#1f2328;--soft:#656d76;--line:#d0d7de;--now:#0969da;--then:#8c959f;\
--bad:#cf222e;background:var(--paper)}
@media (prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;\
--now:#4493f8;--then:#6e7681;--bad:#f85149}}
text{font:13px system-ui,sans-serif;fill:var(--ink)}
.title{font-size:19px;font-weight:600}.soft{fill:var(--soft);font-size:12px}
.bad{fill:var(--bad)}.now{fill:var(--now)}.then{fill:var(--then)}.calm{fill:var(--then)}
.line{stroke:var(--line)}.limit{stroke:var(--ink);stroke-dasharray:4 3}
"""


def picture(report: DriftReport, profile: RunProfile) -> str:
    """The picture of what `report` says of the run that `profile` counted."""
    bars = report.columns[:BARS]
    gauges = {gauge.name: (place, gauge) for place, gauge in enumerate(profile.gauges)}
    shown = [one for one in report.columns if one.name in gauges][:HISTOGRAMS]
    height = _TOP + max(_ROW * len(bars) + 50, _CHART_ROW * len(shown)) + _MARGIN
    body = [*_heading(report), *_bars(bars)]
    for row, column in enumerate(shown):
        place, gauge = gauges[column.name]
        then, now = (_shares(part, place, gauge) for part in (profile.training, profile.run))
        body += _histogram(column, gauge, then, now, top=_TOP + row * _CHART_ROW)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{_quoted(verdict(report))}">'
        f"<style>{_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{height}" fill="var(--paper)"/>{"".join(body)}</svg>\n'
    )


def verdict(report: DriftReport) -> str:
    """What a report says, in one line."""
    if report.note is not None:
        return f"nothing to compare: {report.note}"
    moved = [column.name for column in report.columns if column.drifted]
    if not moved:
        return f"no drift in {len(report.columns)} columns, latents and summaries"
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"drift in {', '.join(moved[:3])}{more}{_again(report)}"


def _again(report: DriftReport) -> str:
    streak = report.streak
    if streak is None or streak.runs < 2:
        return ""
    return f"; {streak.runs} runs in a row since {streak.published[:10]} ({streak.first[:8]})"


def told(finding: Finding) -> str:
    """One finding in words: the measure, its value and its limit."""
    sign = ">" if finding.drifted else "≤"
    return f"{finding.measure} {finding.value:.3g} {sign} {finding.threshold:.3g}"


def worst(column: ColumnDrift) -> Finding:
    """The finding of a column that lies farthest out."""
    return max(column.findings, key=lambda finding: finding.excess)


def _heading(report: DriftReport) -> Iterator[str]:
    title = verdict(report)
    title = title[0].upper() + title[1:]
    yield _text(_MARGIN, 34, title, "title bad" if report.drifted else "title")
    against = "training" + (f" and run {report.previous[:8]}" if report.previous else "")
    yield _text(
        _MARGIN,
        56,
        f"run {report.run_id[:8]}, published {report.published[:16].replace('T', ' ')} UTC, "
        f"{report.rows:,} rows, against {against}; chance alone raises an alarm in 1 of "
        f"{report.runs_per_false_alarm:,} runs",
        "soft",
    )


def _bars(columns: Sequence[ColumnDrift]) -> Iterator[str]:
    start = float(_MARGIN + _NAME)
    foot = float(_TOP + _ROW * len(columns))
    for row, column in enumerate(columns):
        top = _TOP + row * _ROW
        length = _BAR * min(max(column.excess, 0.0), _LIMITS) / _LIMITS
        kind = "bad" if column.drifted else "calm"
        yield _text(start - 8, top + 15, _short(column.name, 24), "", anchor="end")
        yield _box(start, top + 5, max(1.0, length), 12, kind)
        yield _text(start + _BAR + 10, top + 15, told(worst(column)), "soft")
    limit = start + _BAR / _LIMITS
    if columns:
        yield (
            f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{_TOP - 6}" y2="{foot}"/>'
        )
        yield _text(limit, foot + 16, "limit", "soft", anchor="middle")


def _histogram(
    column: ColumnDrift, gauge: Gauge, then: list[float], now: list[float], *, top: float
) -> Iterator[str]:
    high, base = 84.0, top + 118
    most = max([*then, *now, 1e-9])
    step = _CHART / len(then)
    yield _text(_LEFT, top + 15, _short(column.name, 40), "bad" if column.drifted else "")
    if gauge.ordered and gauge.kind != "boolean":
        note = "cells of equally many training rows"
        yield _text(_LEFT + _CHART, top + 15, note, "soft", anchor="end")
    for cell, (before, after) in enumerate(zip(then, now, strict=True)):
        for share, offset, name in ((before, 0.12, "then"), (after, 0.5, "now")):
            tall = high * share / most
            yield _box(_LEFT + (cell + offset) * step, base - tall, 0.36 * step, tall, name)
    yield f'<line class="line" x1="{_LEFT}" x2="{_LEFT + _CHART}" y1="{base}" y2="{base}"/>'
    for at, label in _labels(gauge):
        yield _text(_LEFT + (at + 0.5) * step, base + 15, label, "soft", anchor="middle")
    yield _box(_LEFT, base + 23, 9, 9, "then")
    yield _text(_LEFT + 14, base + 32, "training", "soft")
    yield _box(_LEFT + 78, base + 23, 9, 9, "now")
    yield _text(_LEFT + 92, base + 32, f"this run; highest bar {most:.0%} of rows", "soft")


def _labels(gauge: Gauge) -> Iterator[tuple[float, str]]:
    """What to write below which cell, so that it can be read."""
    yield 0, "null"
    if gauge.kind == "category":
        room = max(3, int(7 * 9 / max(1, gauge.cells)) + 3)
        names = ["new", "other", *gauge.labels]
        every = -(-len(names) // 10)
        yield from (
            (place + 1, _short(name, room + 2))
            for place, name in enumerate(names)
            if place % every == 0 or place < 1
        )
    elif gauge.kind == "timestamp":
        yield from ((2 + hour, f"{hour}h") for hour in range(0, 24, 6))
    elif gauge.kind == "boolean":
        yield from ((place + 2, name) for place, name in enumerate(("false", "true")))
    elif gauge.edges:
        last = len(gauge.edges) - 1
        places = sorted({last // 4, last // 2, 3 * last // 4, last})
        yield from ((place + 1.5, f"{gauge.edges[place]:.3g}") for place in places)


def _shares(counted: Counted, place: int, gauge: Gauge) -> list[float]:
    found = [block.counts[place] for block in counted.blocks if block.counts[place]]
    total = sum(map(sum, found))
    return [sum(block[cell] for block in found) / max(1, total) for cell in range(gauge.cells)]


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{max(height, 0):.1f}"/>'
    )


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(printable(text))}</text>"
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _quoted(text: str) -> str:
    return escape(printable(text), {'"': "&quot;"})
