"""The page of `training_cost.py`: Markdown, JSON and a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "parquet2vec"

from matplotlib import pyplot as plt  # noqa: E402

LIMIT = 1.5e9  # bytes of resident memory
STAGES = {
    "open": "schema and split",
    "statistics": "statistics of the columns (prologue)",
    "prepare": "prepared matrix on disk",
    "closed form": "covariance and principal components",
    "training": "gradient steps",
    "standardise": "standardised codes, checkpoint",
    "export": "export with its gate",
    "evaluate": "evaluation: probes, PCA, raw columns",
}
COLORS = ["#c3cad2", "#9aa5b1", "#6b7785", "#3b6ea5", "#c2410c", "#e4a07a", "#7c2d92", "#d9c3e0"]
TRAINING = [name for name in STAGES if name not in ("export", "evaluate")]


def peak(run: dict[str, Any], stages: list[str]) -> float:
    """Peak resident bytes within some stages."""
    return float(max(run["stages"][name]["bytes"] for name in stages))


def floor(run: dict[str, Any]) -> float:
    """CPU seconds of the floor of a run."""
    return float(run["steps"] * run["floor_per_step"])


def write_report(found: dict[str, Any], out: Path) -> None:
    """``training-cost.md``, ``.json`` and ``.svg`` below `out`."""
    lines = ["# What training costs", "", *_opening(found), "", *_summary(found), ""]
    lines += [found["note"], ""] if "note" in found else []
    lines += ["![CPU seconds and memory by stage](training-cost.svg)", "", *_stages(found), ""]
    lines += ["## Beside other trainers", "", *_peers(found["small"]), ""]
    (out / "training-cost.md").write_text("\n".join(lines))
    (out / "training-cost.json").write_text(json.dumps(found, indent=1) + "\n")
    _draw(found["runs"], out / "training-cost.svg")


def _opening(found: dict[str, Any]) -> list[str]:
    told = (
        f"{found['rows']:,} rows × 100 columns (80 numbers with 5 % nulls, 20 categories of 2 to "
        "1,000 values), on one thread, each recipe in a process of its own; written by "
        "`python benchmarks/training_cost.py`. The floor is three forward passes of the same "
        "matrix products over the same rows (one for the pass, two for its gradients), timed "
        "between the steps of the same run. It leaves out reading rows, corruption, the second "
        "view of a contrastive loss, losses, optimiser and looks at validation rows."
    )
    return [told]


def _summary(found: dict[str, Any]) -> list[str]:
    runs, per_batch = found["runs"], found["rows_per_batch"]
    lines = [f"| | {' | '.join(runs)} |", "|---|" + "---|" * len(runs)]

    def row(what: str, cells: list[str]) -> None:
        lines.append(f"| {what} | {' | '.join(cells)} |")

    steps = {name: run["stages"]["training"]["cpu"] for name, run in runs.items()}
    before = {
        name: sum(run["stages"][stage]["cpu"] for stage in TRAINING if stage != "training")
        for name, run in runs.items()
    }
    row("gradient steps", [f"{r['steps']:,} of {per_batch} rows" for r in runs.values()])
    row("their CPU seconds", [f"{cpu:.0f}" for cpu in steps.values()])
    speed = [f"{r['steps'] * per_batch / steps[name]:,.0f}" for name, r in runs.items()]
    row("rows per CPU second", speed)
    row("three forward passes, CPU seconds", [f"{floor(r):.1f}" for r in runs.values()])
    ratio = [f"**{steps[name] / floor(r):.1f} ×**" for name, r in runs.items()]
    row("the steps as a multiple of that floor", ratio)
    row("training without the steps, CPU seconds", [f"{cpu:.0f}" for cpu in before.values()])
    memory = []
    for run in runs.values():
        most = peak(run, TRAINING)
        holds = "holds" if most <= LIMIT else "falls short"
        memory.append(f"**{most / 1e9:.2f} GB**: {holds}")
    row(f"peak resident memory of training, at most {LIMIT / 1e9:g} GB", memory)
    rest = [f"{peak(r, ['export', 'evaluate']) / 1e9:.2f} GB" for r in runs.values()]
    row("of export and evaluation", rest)
    whole = [f"{r['cost']['cpu']:.0f}" for r in runs.values()]
    row("CPU seconds of the whole process, imports and evaluation included", whole)
    return lines


def _stages(found: dict[str, Any]) -> list[str]:
    runs = found["runs"]
    heads = [f"{name}: CPU s | peak GB" for name in runs]
    lines = [f"| stage | {' | '.join(heads)} |", "|---|" + "---|---|" * len(runs)]
    for stage, what in STAGES.items():
        cells = [
            f"{run['stages'][stage]['cpu']:.1f} | {run['stages'][stage]['bytes'] / 1e9:.2f}"
            for run in runs.values()
        ]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def _peers(small: dict[str, Any]) -> list[str]:
    told = (
        f"The same kind of table with {small['rows']:,} rows: from the Parquet files to an "
        f"embedding of 16 numbers for every row, {small['epochs']} passes over four fifths of the "
        "rows in batches of 256, one thread, no early stopping; imports included, one run each. "
        "The probe is a logistic regression on the embedding, by a label that nobody trained "
        "with. Ours: the recipes as they are, exported through the gate before they embed. "
        "pytorch_tabular: its DenoisingAutoEncoder (its default noise and losses), encoder "
        "256-16, decoder 16-256, medians imputed before, because it fills in missing categories "
        "only. row2vec: `learn_embedding` with 256 hidden units. Nothing was tuned for anybody; "
        "with such defaults the 16 ReLU units of pytorch_tabular died, and its codes tell nothing."
    )
    lines = [
        told,
        "",
        "| | CPU seconds | wall seconds | peak GB | linear probe, ROC AUC |",
        "|---|---|---|---|---|",
    ]
    for name, cost in small["contenders"].items():
        lines.append(
            f"| {name} | {cost['cpu']:.0f} | {cost['wall']:.0f} | {cost['bytes'] / 1e9:.2f} | "
            f"{cost['auc']:.3f} |"
        )
    for name, why in small["failed"].items():
        lines += ["", f"Not measured: {name}: {why}"]
    return lines


def _draw(runs: dict[str, Any], path: Path) -> None:
    """CPU seconds by stage with the floor, and peak memory by stage with its limit."""
    figure, (costs, memory) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
    for place, (_name, run) in enumerate(runs.items()):
        left = 0.0
        for (stage, what), color in zip(STAGES.items(), COLORS, strict=True):
            cpu = run["stages"][stage]["cpu"]
            costs.barh(place, cpu, left=left, color=color, label=None if place else what)
            if stage == "training":
                costs.barh(
                    place, floor(run), left=left, height=0.25, color="black",
                    label=None if place else "floor of the steps",
                )  # fmt: skip
            left += cpu
        peaks = [run["stages"][stage]["bytes"] / 1e9 for stage in STAGES]
        memory.plot(range(len(STAGES)), peaks, "o-", ms=4, color=COLORS[4 - place], label=_name)
    costs.set_yticks(range(len(runs)), list(runs))
    costs.invert_yaxis()
    costs.set_title("CPU seconds by stage", fontsize=10)
    memory.axhline(LIMIT / 1e9, color="#333333", lw=0.8, ls="--")
    memory.annotate("required of training", (0, LIMIT / 1e9), fontsize=8, va="bottom")
    memory.set_xticks(range(len(STAGES)), list(STAGES), rotation=35, ha="right", fontsize=8)
    memory.set_ylim(0)
    memory.set_title("peak resident GB within each stage", fontsize=10)
    memory.legend(fontsize=8, frameon=False, loc="lower right")
    figure.legend(*costs.get_legend_handles_labels(), fontsize=8, ncols=3, loc="outside lower left")
    for axes in (costs, memory):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
