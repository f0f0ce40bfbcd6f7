"""The charts of `quality.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "parquet2vec"

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from quality_claims import TIMED, lead, over_seeds  # noqa: E402
from quality_results import Results  # noqa: E402

COLORS = {
    "unlabelled": "#c2410c",
    "target-aware": "#7c2d92",
    "PCA": "#3b6ea5",
    "kernel PCA": "#6b7785",
    "random": "#c3cad2",
}
VERDICTS = {"ahead": "#c2410c", "level": "#9aa5b1", "behind": "#1d4e89"}


def draw_leads(results: Results, path: Path) -> None:
    """The lead of the default embedding over PCA and kernel PCA at the default width, by table."""
    figure, panels = plt.subplots(
        1, 2, figsize=(9.2, 1.6 + 0.3 * len(results.tables)), sharey=True, layout="constrained"
    )
    for axes, rival in zip(panels, ("PCA", "kernel PCA"), strict=True):
        for place, table in enumerate(results.tables):
            width = results.facts[table].default_dim
            own = results.lines(table, "unlabelled", width)
            other = results.lines(table, rival, width)
            if own is None or other is None:
                continue
            found = lead(own, other)
            color = VERDICTS[found.verdict]
            axes.plot([found.low, found.high], [place, place], color=color, lw=2)
            axes.plot(found.points, place, "o", color=color, ms=5)
            axes.annotate(
                f"{found.points:+.1f}", (max(found.high, 0), place), va="center", fontsize=8,
                xytext=(5, 0), textcoords="offset points",
            )  # fmt: skip
        axes.axvline(0, color="#333333", lw=0.8)
        axes.set_title(f"ahead of {rival}", fontsize=10)
        axes.margins(x=0.12)
        _plain(axes)
    apart = [f"{name} (apart)" if name in results.apart else name for name in results.tables]
    panels[0].set_yticks(range(len(apart)), apart)
    panels[0].invert_yaxis()
    figure.supxlabel(
        "points of the linear probe, 95 % interval; orange ahead, grey level, blue behind",
        fontsize=9,
    )
    _save(figure, path)


def draw_widths(results: Results, path: Path) -> None:
    """The linear probe by width, a panel for each table; the raw columns as a line."""
    columns = 4
    rows = -(-len(results.tables) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.6 * columns, 0.9 + 2.1 * rows),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(results.tables) :]:
        axes.set_axis_off()
    for axes, table in zip(grid.flat, results.tables, strict=False):
        raw = results.raw(table, "linear")
        if raw is not None:
            axes.axhline(over_seeds(raw)[0], color="#333333", lw=0.8, ls="--", label="raw columns")
        for name, color in COLORS.items():
            widths = sorted(w for t, n, w in results.kept if (t, n) == (table, name))
            scores = [over_seeds(_known(results.lines(table, name, w)))[0] for w in widths]
            if widths:
                axes.plot(widths, scores, "o-", color=color, ms=3, lw=1.2, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
        axes.set_title(table, fontsize=9)
        _plain(axes)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper center", ncols=6, fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.supxlabel("width", fontsize=9)
    figure.supylabel("linear probe: ROC AUC or accuracy", fontsize=9)
    _save(figure, path)


def draw_time(results: Results, path: Path) -> None:
    """How many times faster models of the embedding fit and predict than models of raw columns."""
    tables = [table for table in results.tables if _timed(results, table)]
    figure, axes = plt.subplots(figsize=(8.4, 1.6 + 0.42 * len(tables)), layout="constrained")
    shades = ("#c2410c", "#e08a5b", "#3b6ea5", "#9aa5b1")
    order = sorted(tables, key=lambda table: -results.facts[table].raw_columns)
    for index, (probe, shade) in enumerate(zip(TIMED, shades, strict=True)):
        ratios = []
        for table in order:
            own, raw = _timed(results, table)
            ratios.append(raw["probes"][probe] / own["probes"][probe])
        places = np.arange(len(order)) + 0.2 * (index - 1.5)
        axes.barh(places, ratios, 0.18, left=0, color=shade, label=probe)
        for place, ratio in zip(places, ratios, strict=True):
            axes.annotate(
                f" {ratio:.1f}", (ratio, place), va="center", fontsize=6,
                xytext=(1, 0), textcoords="offset points",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g} ×")
    axes.axvline(1, color="#333333", lw=0.8)
    axes.axvline(10, color="#333333", lw=0.8, ls=":")
    names = [f"{table} ({results.facts[table].raw_columns:,} columns)" for table in order]
    axes.set_yticks(range(len(order)), names)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than on the raw columns (fit and predict)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    _plain(axes)
    _save(figure, path)


def _timed(results: Results, table: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    facts = results.facts[table]
    own = results.times(table, "unlabelled", facts.default_dim)
    raw = results.times(table, "raw", facts.raw_columns)
    return (own, raw) if own and raw else None


def _known(lines: Any) -> Any:
    assert lines is not None
    return lines


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
