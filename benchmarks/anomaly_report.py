"""What `anomaly.py` writes: Markdown, JSON and a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "parquet2vec"

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

OWN, FOREST = "reconstruction error", "isolation forest"
COLORS = {OWN: "#c2410c", "error and code together": "#e9a178", "code: 10 neighbours": "#7c2d92",
          FOREST: "#3b6ea5", "PCA error": "#9aa5b1"}  # fmt: skip

Results = list[dict[str, Any]]


def write_report(results: Results, out: Path) -> None:
    """Write anomaly.json, anomaly.md and anomaly.svg into the folder `out`."""
    (out / "anomaly.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "anomaly.md").write_text(_markdown(results), encoding="utf-8")
    _draw(results, out / "anomaly.svg")


def _cases(results: Results) -> list[str]:
    return list(dict.fromkeys(one["case"]["name"] for one in results))


def _of(results: Results, case: str, method: str, figure: str) -> list[float]:
    return [one["methods"][method][figure] for one in results if one["case"]["name"] == case]


def _markdown(results: Results) -> str:
    methods = list(results[0]["methods"])
    seeds = len({one["seed"] for one in results})
    lines = [
        "# Rare events",
        "",
        f"From `python benchmarks/anomaly.py FOLDER`, recipe `{results[0]['recipe']}`, {seeds}",
        "seeds. Nobody told any method which rows are rare: they are 1 % of at most",
        "10,000 training rows, and 1 % of the test rows. What is usual and what is rare:",
        "",
        "| table | rare | among | training rows | test rows (rare) | dims |",
        "|---|---|---|---|---|---|",
    ]
    for case in _cases(results):
        one = next(r for r in results if r["case"]["name"] == case)
        lines.append(
            f"| {case} | `{one['case']['label']}` = {one['case']['rare']} | "
            f"{one['case']['usual'] or 'all others'} | {one['rows']['train']:,} | "
            f"{one['rows']['test']:,} ({one['rare']['test']}) | {one['dim']} |"
        )
    for figure, title in (("auc", "ROC AUC"), ("precision", "Average precision")):
        lines += ["", f"## {title}", "", "Mean over the seeds ± their deviation; best in bold.", ""]
        lines += _table(results, methods, figure)
    lines += ["", "![ROC AUC by table and method](anomaly.svg)", "", *_words(results, methods)]
    return "\n".join(lines) + "\n"


def _table(results: Results, methods: list[str], figure: str) -> list[str]:
    lines = [f"| table | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    for case in _cases(results):
        found = {m: _of(results, case, m, figure) for m in methods}
        best = max(methods, key=lambda m: np.mean(found[m]))
        cells = []
        for method in methods:
            told = f"{np.mean(found[method]):.3f} ± {np.std(found[method]):.3f}"
            cells.append(f"**{told}**" if method == best else told)
        lines.append(f"| {case} | {' | '.join(cells)} |")
    means = [np.mean([np.mean(_of(results, c, m, figure)) for c in _cases(results)])
             for m in methods]  # fmt: skip
    return [*lines, f"| mean | {' | '.join(f'{mean:.3f}' for mean in means)} |"]


def _words(results: Results, methods: list[str]) -> list[str]:
    def leads(method: str) -> dict[str, float]:
        return {
            case: float(
                np.mean(_of(results, case, method, "auc"))
                - np.mean(_of(results, case, FOREST, "auc"))
            )
            for case in _cases(results)
        }

    own = leads(OWN)
    ahead = [c for c, lead in own.items() if lead > 0.01]
    behind = [c for c, lead in own.items() if lead < -0.01]
    told = f"ahead on {_listed(ahead)}, behind on {_listed(behind)}, and level on the others"
    lines = [f"Against the isolation forest the reconstruction error is {told} (one point)."]
    for method in (m for m in methods if m not in (OWN, FOREST)):
        mean = np.mean(list(leads(method).values()))
        lines.append(f"- {method}: {100 * mean:+.1f} points of ROC AUC on average.")
    means = {m: float(np.mean([np.mean(_of(results, c, m, "auc")) for c in own])) for m in methods}
    ranked = sorted(methods, key=lambda m: -means[m])
    fewest = min(one["rare"]["test"] for one in results)
    lines += [
        "",
        f"By mean ROC AUC: {', '.join(f'{m} {means[m]:.3f}' for m in ranked)}.",
        f"The smallest test has {fewest} rare rows a seed, so its figures move much with the seed.",
        "",
        "The error sees what a code does not hold. A row that is rare because its code lies far",
        "out is given back well, and only distances of codes see it. Nobody knows beforehand",
        "which kind of rare a table has: store the codes and look at both (`embed --scores`), or",
        "take the neighbours of a code. A forest needs no training and is the cheapest.",
    ]
    cost = np.mean([one["training_seconds"] for one in results])
    forest = np.mean([one["methods"][FOREST]["seconds"] for one in results])
    score = np.mean([one["methods"][OWN]["seconds"] for one in results])
    lines += [
        "",
        f"CPU seconds, on average: training {cost:.1f}, scoring by the error {score:.2f},",
        f"the forest (fit and score) {forest:.2f}.",
    ]
    return lines


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _draw(results: Results, path: Path) -> None:
    cases = _cases(results)
    figure, axes = plt.subplots(figsize=(8.4, 0.9 + 0.62 * len(cases)), layout="constrained")
    for place, case in enumerate(cases):
        for step, (method, color) in enumerate(COLORS.items()):
            found = _of(results, case, method, "auc")
            at = place + 0.13 * (step - (len(COLORS) - 1) / 2)
            axes.plot([min(found), max(found)], [at, at], color=color, lw=1.6)
            label = method if place == 0 else None
            axes.plot(np.mean(found), at, "o", color=color, ms=5, label=label)
    axes.axvline(0.5, color="#333333", lw=0.8, ls="--")
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.set_xlabel("ROC AUC on test rows, mean and range over seeds; 0.5 (dashed) is guessing")
    axes.grid(axis="x", color="#e3e7ec", lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
