"""The figures of `throughput.py` as Markdown and as a chart."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "parquet2vec"

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from contenders import LIMIT, OURS  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

HEAD = """\
# What a million rows cost

`parquet2vec embed` against the *limit*, which is the sum of its three parts alone (reading the
columns, running the network, writing the vectors; each in its best setting, uncompressed where that
is cheaper), and against the same job in other engines. Written by
`python benchmarks/throughput.py{how}.

![CPU seconds per million rows](throughput.svg)

## In short

CPU seconds of each engine as a multiple of those of `parquet2vec`; in the first column, those of
`parquet2vec` as a multiple of the limit.
"""

NOTES = """\
## How it was measured

- {cores} cores; parquet2vec with onnxruntime {onnxruntime}, pyarrow {pyarrow}; peers with what
  `benchmarks/peers.txt` pins. Every figure is the median of {rounds} rounds; behind it, in
  brackets, the 95 % bootstrap interval of that median (with few rounds, their whole range).
- CPU is user and system time of the whole tree of processes. Contenders take turns in every round,
  each in a process of its own, on a table and on a quarter of it. *Per million rows* is the slope
  between the two, *start-up* is what is left at no rows. Ratios are taken round by round.
- Memory is the peak of the largest process on the larger table.
- Input is in the page cache, and no dirty pages wait to be written when a run starts. Only
  parquet2vec syncs and publishes what it wrote, and its CPU for that is counted. It also hashes
  every part (SHA-256), and so does the limit; the peers do not.
- All engines run the same `encoder.onnx`, fed by column name, and write key, event time and
  embedding; parquet2vec and the limit use the same graph cut in two, `lookup.onnx` and `core.onnx`.
  Strings become Python objects in every peer, because that is what `encoder.onnx` takes.
- Before timing counts, every output is compared with that of `encoder.onnx` row by row: equal keys
  and event times, vectors within 1e-4.
- Every peer may use all cores the way its users would: pyarrow on a thread per core and pandas on
  a pool of processes, each with its own files, or pandas in a plain loop with several threads
  inside ONNX Runtime; Polars, Daft, DuckDB and Dask schedule by themselves. Up to three settings
  (rows of a call × threads in it) are tried first and the cheapest in CPU is measured; threads
  inside ONNX Runtime do not spin. DuckDB calls with 2,048 rows and leaves no choice.
- *pandas* is a careful script, *pandas-defaults* the one people write first: each file read whole,
  one call of the model for all its rows, every option as it comes.
- *Setting* of a part: rows of a batch × pre-buffer for read, rows of a run × memory arena for
  forward, compression × rows of a row group for write. All parts run on a thread per core.
- A slope that the noise hides is *unresolved*: more rows or more rounds are needed.
- Page checksums: {checksums}.
"""


class Figure(NamedTuple):
    """A median with its interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low <= 0:
            return "unresolved"
        places = 2 if self.middle < 10 else 1
        text = [f"{value:.{places}f}" for value in self]
        if self.low == self.high:
            return text[0]
        return f"{text[0]} [{text[1]}–{text[2]}]"


Series = npt.NDArray[np.float64]


def summary(values: Series) -> Figure:
    """The median of `values` and its 95 % bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = np.median(random.choice(values, (2_000, len(values))), axis=1)
    return Figure(float(np.median(values)), *map(float, np.quantile(drawn, [0.025, 0.975])))


class Costs:
    """The figures of one workload."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._rows, self._contenders = found["rows"], found["contenders"]
        self.engines = [name for name in self._contenders if name not in LIMIT]

    def slope(self, name: str, what: str) -> Series:
        """Per million rows, one value for each round."""
        if name == "limit":
            parts: Series = np.sum([self.slope(part, what) for part in LIMIT], axis=0)
            return parts
        millions = float(self._rows["data"] - self._rows["small"]) / 1e6
        rise: Series = self._of(name, "data", what) - self._of(name, "small", what)
        return np.divide(rise, millions)

    def start(self, name: str, what: str) -> float:
        """Cost at no rows."""
        left = self.slope(name, what) * self._rows["small"] / 1e6
        return float(np.median(self._of(name, "small", what) - left))

    def whole(self, name: str) -> Series:
        """CPU seconds of the larger table with its start, one value for each round."""
        return self._of(name, "data", "cpu")

    def peak(self, name: str) -> float:
        """Bytes of the largest process on the larger table."""
        return float(self._of(name, "data", "bytes").max())

    def ratio(self, name: str, other: str, what: str = "cpu") -> Figure:
        """The cost of `name` as a multiple of that of `other`."""
        return summary(self.slope(name, what) / self.slope(other, what))

    def setting(self, name: str) -> str:
        """The setting that was measured."""
        return " × ".join(self._contenders[name]["setting"])

    def _of(self, name: str, size: str, what: str) -> Series:
        runs = self._contenders[name]["runs"]
        return np.array([run[what] for run in runs if run["size"] == size], np.float64)


def write_report(results: dict[str, Any], out: Path) -> None:
    """``throughput.md`` and ``throughput.svg`` below `out`."""
    costs = {name: Costs(found) for name, found in results.items()}
    scales = {found["scale"] for found in results.values()}
    how = f" --scale {min(scales):g}`" if scales != {1.0} else "`"
    lines = [HEAD.format(how=how), *_overview(costs), ""]
    for name, found in results.items():
        lines += _details(name, found, costs[name])
    lines.append(_notes(results))
    (out / "throughput.md").write_text("\n".join(lines))
    _chart(costs, out / "throughput.svg")


def _overview(costs: dict[str, Costs]) -> list[str]:
    peers = list(dict.fromkeys(e for one in costs.values() for e in one.engines if e != OURS))
    lines = [_row(["workload", f"{OURS} / limit", *peers]), _row(["---"] * (len(peers) + 2))]
    for name, one in costs.items():
        cells = [str(one.ratio(peer, OURS)) if peer in one.engines else "–" for peer in peers]
        lines.append(_row([name, str(one.ratio(OURS, "limit")), *cells]))
    return lines


def _details(name: str, found: dict[str, Any], costs: Costs) -> list[str]:
    columns = [
        "", "CPU s / million rows", "wall s / million rows", "start-up CPU s", "start-up wall s",
        "whole run, CPU s", "peak RSS", "CPU / limit", "CPU / parquet2vec", "wall / parquet2vec",
        "setting",
    ]  # fmt: skip
    lines = [f"## {name}", "", _shape(found), "", _row(columns), _row(["---"] * len(columns))]
    lines += [_line(part, costs) for part in LIMIT]
    limit = [str(summary(costs.slope("limit", what))) for what in ("cpu", "wall")]
    against = [str(costs.ratio("limit", OURS, what)) for what in ("cpu", "wall")]
    lines.append(_row(["**limit**", *limit, "", "", "", "", "1", *against, ""]))
    lines += [_line(engine, costs) for engine in costs.engines]
    lines += [""]
    if found["missing"]:
        left = (f"{peer}: {why.splitlines()[-1][:200]}" for peer, why in found["missing"].items())
        lines += ["Not measured: " + "; ".join(left) + ".", ""]
    return lines


def _line(name: str, costs: Costs) -> str:
    pairs = (("limit", "cpu"), (OURS, "cpu"), (OURS, "wall"))
    compared = [str(costs.ratio(name, other, what)) for other, what in pairs]
    if name == OURS:
        compared[1:] = ["1", "1"]
    return _row(
        [
            name,
            *(str(summary(costs.slope(name, what))) for what in ("cpu", "wall")),
            *(f"{costs.start(name, what):.2f}" for what in ("cpu", "wall")),
            str(summary(costs.whole(name))),
            f"{costs.peak(name) / 1e9:.2f} GB",
            *(["", "", ""] if name in LIMIT else compared),
            costs.setting(name),
        ]
    )


def _shape(found: dict[str, Any]) -> str:
    shape = found["shape"]
    width = "float64" if shape["double"] else "float32"
    parts = [f"{shape['numeric']} {width} columns"] if shape["numeric"] else []
    if shape["vector"]:
        parts.append(f"a column of {shape['vector']}-float vectors")
    if cards := shape["cardinalities"]:
        parts.append(f"{len(cards)} string columns of {min(cards)} to {max(cards):,} values")
    if shape["null_share"]:
        parts.append(f"{shape['null_share']:.0%} nulls")
    layers = "-".join(map(str, shape["layers"]))
    rows = found["rows"]
    return (
        f"{rows['data']:,} and {rows['small']:,} rows: {', '.join(parts)}; "
        f"layers {layers} with {shape['activation']}."
    )


def _notes(results: dict[str, Any]) -> str:
    kinds: dict[str, list[str]] = {}
    rounds = set()
    for found in results.values():
        for name, one in found["contenders"].items():
            rounds.add(len(one["runs"]) // 2)
            names = kinds.setdefault(one["checksums"], [])
            names += [] if name in names or name in LIMIT else [name]
    return NOTES.format(
        cores=len(os.sched_getaffinity(0)),
        onnxruntime=version("onnxruntime"),
        pyarrow=version("pyarrow"),
        rounds=" or ".join(map(str, sorted(rounds))),
        checksums="; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items()),
    )


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _chart(costs: dict[str, Costs], path: Path) -> None:
    columns = min(3, len(costs))
    rows = -(-len(costs) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.4 * columns, 2.9 * rows), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(costs) :]:
        axes.set_axis_off()
    for axes, (name, one) in zip(grid.flat, costs.items(), strict=False):
        _panel(axes, name, one)
    figure.supxlabel("CPU seconds per million rows, start-up apart; less is better", fontsize=10)
    parts = grid.flat[0].get_legend_handles_labels()
    figure.legend(*parts, loc="outside upper right", ncols=len(LIMIT), fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _panel(axes: Any, name: str, costs: Costs) -> None:
    left = 0.0
    for part, shade in zip(LIMIT, ("#9aa5b1", "#6b7785", "#c3cad2"), strict=True):
        width = float(np.median(costs.slope(part, "cpu")))
        axes.barh("limit", width, left=left, color=shade, label=f"limit: {part}")
        left += width
    for engine in costs.engines:
        found = summary(costs.slope(engine, "cpu"))
        spread = [[max(0, found.middle - found.low)], [max(0, found.high - found.middle)]]
        color = "#c2410c" if engine == OURS else "#3b6ea5"
        axes.barh(engine, found.middle, xerr=spread, color=color, error_kw={"lw": 1})
        axes.annotate(
            f" {found.middle:.1f}", (found.high, engine), va="center", fontsize=8, xytext=(2, 0),
            textcoords="offset points",
        )  # fmt: skip
    axes.annotate(f" {left:.1f}", (left, "limit"), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_title(name, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
