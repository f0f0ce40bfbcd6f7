"""The figures of `scaling.py` as Markdown and as a chart, and what they add up to on a cluster."""

from __future__ import annotations

import os
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "parquet2vec"

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402
from phases import PHASES  # noqa: E402
from scaling_costs import BILLION, MAX_BATCHES, MILLION, Constants, Costs, middle, phase  # noqa: E402

HEAD = """\
# How the cost grows

`parquet2vec embed` against rows, columns, files and workers. Written by
`python benchmarks/scaling.py`; [what follows for a billion rows](../scaling.md).

![Cost against rows, columns, files and workers](scaling.svg)

CPU is user and system time of a process of its own, from its start to its end. Tables are of
float32 columns with a key and an event time, the encoder has layers {layers}; the input is in
the page cache. {cores} cores, shared with other work: CPU is the figure, wall time is
indicative. onnxruntime {onnxruntime}, pyarrow {pyarrow}. Medians of up to {rounds} rounds in which
all points take turns; *runs* says how often a point was measured. Creating and deleting thousands
of files costs a multiple of itself in system time when neighbours write too: see the ranges.
"""


def write_report(found: dict[str, Any], out: Path) -> None:
    """``scaling.md`` and ``scaling.svg`` below `out`."""
    costs = Costs(found)
    head = HEAD.format(
        layers="64-8",
        cores=len(os.sched_getaffinity(0)),
        onnxruntime=version("onnxruntime"),
        pyarrow=version("pyarrow"),
        rounds=max(len(point["runs"]) for point in found.values()),
    )
    sections = (_rows, _columns, _files, _phases, _workers, _reuse, _billion)
    (out / "scaling.md").write_text("\n".join([head, *(section(costs) for section in sections)]))
    _chart(costs, out / "scaling.svg")


def _rows(costs: Costs) -> str:
    slope, start = costs.rows
    lines = [
        [
            f"{p['rows']:,}",
            f"{middle(p):.2f}",
            _spread(p),
            f"{middle(p) / p['rows'] * MILLION:.2f}",
            f"{(middle(p) - start) / p['rows'] * MILLION:.2f}",
            f"{middle(p, 'wall'):.1f}",
            _gigabytes(p),
            _runs(p),
        ]
        for p in costs.curve("rows")
    ]
    columns = ["rows", "CPU s", "lowest–highest", "CPU s / million rows", "without start-up"]
    return (
        f"## Rows\n\n16 columns, files of a million rows. The line through the points: "
        f"**{slope:.2f} CPU s per million rows** and {start:.2f} CPU s at no rows.\n\n"
        + _table([*columns, "wall s", "peak RSS", "runs"], lines)
    )


def _columns(costs: Costs) -> str:
    runs = costs.curve("columns")[1::2]
    lines = [
        [
            f"{columns:,}",
            f"{point['rows'] // 3:,}",
            f"{slope:.2f}",
            f"{slope / columns * 1e3:.1f}",
            f"{start:.2f}",
            f"{peak / 1e9:.2f} GB",
            _runs(point),
        ]
        for (columns, slope, start, peak), point in zip(costs.columns, runs, strict=True)
    ]
    names = ["columns", "rows of a file", "CPU s / million rows", "ns / cell", "start-up CPU s"]
    return (
        "## Columns\n\nThree files against one, each a full shard; the slope between them.\n\n"
        + _table([*names, "peak RSS", "runs"], lines)
    )


def _files(costs: Costs) -> str:
    curve = costs.curve("files")
    lines = [
        [
            f"{p['files']:,}",
            f"{middle(p):.2f}",
            _spread(p),
            "" if p is curve[0] else f"{_more(p, curve[0]) * 1e3:.2f}",
            f"{middle(p, 'wall'):.1f}",
            _gigabytes(p),
            _runs(p),
        ]
        for p in curve
    ]
    return (
        f"## Files\n\n{curve[0]['rows']:,} rows of 16 columns, cut into files. Cost of a file: "
        "what all cost more than one, for each.\n\n"
        + _table(
            ["files", "CPU s", "lowest–highest", "CPU ms / file", "wall s", "peak RSS", "runs"],
            lines,
        )
    )


def _phases(costs: Costs) -> str:
    names = ["columns", "files", "rows"]
    names += [f"{name} {what} s" for name in PHASES for what in ("CPU", "wall")]
    lines = [
        [
            f"{p['columns']}",
            f"{p['files']:,}",
            f"{p['rows']:,}",
            *(f"{phase(p, name, what):.3f}" for name in PHASES for what in ("cpu", "wall")),
            _runs(p),
        ]
        for p in costs.curve("phases")
    ]
    each = "; ".join(
        f"{name} {costs.per_file(name, 'cpu') * 1e3:.2f} ms CPU, "
        f"{costs.per_file(name, 'wall') * 1e3:.2f} ms wall"
        for name in PHASES
    )
    return (
        "## Planning, mapping, publishing\n\nOn one thread. Planning and publishing are what a "
        f"single process does, whatever maps the shards. For one small file more: {each}.\n\n"
        + _table([*names, "runs"], lines)
    )


def _workers(costs: Costs) -> str:
    threads = [
        [f"{p['threads']} threads", f"{middle(p):.2f}", "", f"{middle(p, 'wall'):.1f}", _runs(p)]
        for p in costs.curve("threads")
    ]
    processes = [
        [
            f"{p['workers']} processes",
            f"{middle(p):.2f}",
            f"{middle(p, 'slowest'):.2f}",
            "",
            _runs(p),
        ]
        for p in costs.curve("workers")
    ]
    return (
        "## Workers\n\n8,000,000 rows. Threads share 8 files of a million rows. Processes are "
        "independent, one after the other, each with one thread, its own files of 250,000 rows and "
        "a destination of its own: what a worker costs without anything shared.\n\n"
        + _table(["workers", "CPU s of all", "CPU s of the slowest", "wall s", "runs"],
                 threads + processes)
    )  # fmt: skip


def _reuse(costs: Costs) -> str:
    [point] = costs.curve("reuse")
    slope, start = costs.rows
    kept = point["files"] - point["added"]
    each = (middle(point) - start - slope) / kept
    return (
        f"## A file more\n\n{kept} files of a million rows are published, one is added: "
        f"{middle(point):.2f} CPU s, of which start-up and the new file are "
        f"{start + slope:.2f}. The rest is {each * 1e3:.0f} ms for every part taken over, mostly "
        "the hash that proves it whole.\n"
    )


def _billion(costs: Costs) -> str:
    names = ["columns", "files", "machines × cores", "batches", "before s", "shards s", "after s"]
    full = ceil(BILLION * 3 / costs.curve("columns")[-1]["rows"])
    cases = [(costs.narrow, files) for files in (1_000, 10_000, 100_000)] + [(costs.wide, full)]
    lines = [
        _case(constants, files, machines, cores, batches)
        for constants, files in cases
        for machines, cores in ((1, 2), (10, 2), (100, 2), (100, 16))
        for batches in dict.fromkeys((MAX_BATCHES, max(MAX_BATCHES, 4 * machines * cores)))
    ]
    return (
        "## A billion rows\n\nNot measured: the formula of [scaling.md](../scaling.md) with the "
        "constants above, equal files, one shard each. *Useful* is the share of all cores' time "
        f"that rows alone would take. More batches than {MAX_BATCHES} is what the flows do not do "
        "today.\n\n" + _table([*names, "total s", "useful"], lines)
    )


def _case(constants: Constants, files: int, machines: int, cores: int, batches: int) -> list[str]:
    slots = machines * cores
    parts = constants.billion(files, slots, batches)
    useful = constants.rows * BILLION / MILLION / slots / sum(parts)
    table = [f"{constants.columns:,}", f"{files:,}", f"{machines} × {cores}"]
    seconds = [f"{s:,.1f}" for s in (*parts, sum(parts))]
    return [*table, f"{min(batches, files):,}", *seconds, f"{useful:.0%}"]


def _more(point: dict[str, Any], first: dict[str, Any]) -> float:
    return (middle(point) - middle(first)) / (point["files"] - first["files"])


def _runs(point: dict[str, Any]) -> str:
    return str(len(point["runs"]))


def _spread(point: dict[str, Any]) -> str:
    seconds = [run["cpu"] for run in point["runs"]]
    return f"{min(seconds):.2f}–{max(seconds):.2f}"


def _gigabytes(point: dict[str, Any]) -> str:
    return f"{middle(point, 'bytes') / 1e9:.2f} GB"


def _table(names: list[str], lines: list[list[str]]) -> str:
    rows = [names, ["---"] * len(names), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _chart(costs: Costs, path: Path) -> None:
    figure, grid = plt.subplots(2, 2, figsize=(10, 7))
    panels = (_draw_rows, _draw_columns, _draw_files, _draw_workers)
    for axes, draw in zip(grid.flat, panels, strict=True):
        draw(axes, costs)
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if _short(axis) else (1,)))
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, alpha=0.3)
        axes.tick_params(labelsize=8)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _short(axis: Any) -> bool:
    low, high = axis.get_view_interval()
    return bool(high / low < 200)


def _draw_rows(axes: Any, costs: Costs) -> None:
    curve = costs.curve("rows")
    rows = np.array([p["rows"] for p in curve]) / MILLION
    slope, start = costs.rows
    axes.plot(rows, start + slope * rows, color="#9aa5b1", zorder=1,
              label=f"{start:.2f} s + {slope:.2f} s per million")  # fmt: skip
    axes.plot(rows, [middle(p) for p in curve], "o", color="#c2410c", label="measured")
    axes.set(title="16 columns", xlabel="million rows", ylabel="CPU seconds")


def _draw_columns(axes: Any, costs: Costs) -> None:
    columns, slopes, _, _ = zip(*costs.columns, strict=True)
    axes.plot(columns, slopes, "o-", color="#c2410c")
    axes.set(title="Start-up apart", xlabel="float columns", ylabel="CPU seconds per million rows")


def _draw_files(axes: Any, costs: Costs) -> None:
    curve = costs.curve("files")
    axes.plot([p["files"] for p in curve], [middle(p) for p in curve], "o-", color="#c2410c",
              label="whole command")  # fmt: skip
    split = costs.cut_into_files(16)
    files = [p["files"] for p in split]
    for name, colour in (("planning", "#3b6ea5"), ("publishing", "#6b7785")):
        seconds = [phase(p, name, "cpu") for p in split]
        axes.plot(files, seconds, "s--", color=colour, label=f"{name} alone", markersize=4)
    axes.set(title="A million rows cut into files", xlabel="files", ylabel="CPU seconds")


def _draw_workers(axes: Any, costs: Costs) -> None:
    curve = costs.curve("workers")
    workers = np.array([p["workers"] for p in curve])
    slowest = [middle(p, "slowest") for p in curve]
    axes.plot(
        workers, slowest[0] / workers, color="#9aa5b1", label="slowest, if nothing were fixed"
    )
    axes.plot(workers, [middle(p) for p in curve], "s--", color="#3b6ea5", label="all together")
    axes.plot(workers, slowest, "o-", color="#c2410c", label="slowest worker")
    axes.set(title="8 million rows", xlabel="one-thread processes", ylabel="CPU seconds")
