"""Pictures of scores and of seconds, each a function from an evaluation to SVG text.

Colours are CSS classes that the page defines (`training/page.py`): c-embedding, c-pca, c-prepared,
c-random, c-raw for representations, k0 … k9 for classes.
"""

from __future__ import annotations

from training.report import svg
from training.results import Evaluation, ProbeName, Representation, Score
from training.verdict import seconds

WIDTH = 620.0

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

_TIMED: tuple[Representation, ...] = ("embedding", "PCA", "raw")

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
        timed = [
            (s, _seconds(s))
            for s in found.scores
            if s.probe == probe and s.representation in _TIMED
        ]
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
    middle, axis = (
        (_LEFT + WIDTH - _RIGHT) / 2,
        "seconds, each group to its own scale (left is better)",
    )
    parts.append(svg.text(middle, y + 8, axis, at="middle", style="axis"))
    told = (
        f"Linear model fits in {seconds(found.score('embedding').fit_seconds)} on the embedding, "
    )
    told += f"{seconds(found.score('raw').fit_seconds)} on the raw columns."
    return svg.picture(WIDTH, y + 18, told, parts)


def _seconds(score: Score) -> float:
    return score.predict_seconds if score.probe == "kNN" else score.fit_seconds
