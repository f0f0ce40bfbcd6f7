"""What training costs: a million rows by a hundred columns, against the floor of its products.

Usage: python benchmarks/training_cost.py [--recipe denoising] [--rows 1000000] [--steps 4000]
                                          [--event-time] [--out docs/benchmarks]
                                          [--work build/training_cost]

Makes its own table (80 numbers with nulls, 20 categories), trains one recipe on one thread in a
process of its own, measured from outside, and the same with a single step: what is left when that
is taken away is the cost of the steps. The *floor* is the time of three forward passes of the same
matrix products over the same rows: one for the pass itself, two for its gradients. Writes
training-cost.md and training-cost.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workloads import Workload

HERE = Path(__file__).parent
LIMIT = 1.5e9  # bytes of resident memory
TABLE = Workload(
    "training", rows=1_000_000, numeric=80, layers=(8,), double=True, null_share=0.05,
    cardinalities=(2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 250, 500, 1000),
)  # fmt: skip
SHAPES = "shapes.json"


def train(source: str, out: str, recipe: str, steps: int, *, by_time: bool) -> None:
    """Train without export; run in a process of its own."""
    import torch

    from training.fit import fit
    from training.spec import TrainingConfig, TrainingJob

    config = TrainingConfig(steps=steps, evaluate_every=1_000, checkpoint_every=1_000)
    ignore = () if by_time else ("event_time",)
    time_column = "event_time" if by_time else None
    job = TrainingJob(
        source=source, out=out, recipe=recipe, key=("row_id",), ignore=ignore,
        event_time=time_column, training=config,
    )  # fmt: skip
    checkpoint = fit(job)
    layers = [m for m in checkpoint.module.modules() if isinstance(m, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    told = {"shapes": shapes, "rows_per_batch": config.rows_per_batch, "dim": checkpoint.spec.dim}
    Path(out).parent.joinpath(SHAPES).write_text(json.dumps(told))


def floor(shapes: list[tuple[int, int]], *, rows: int, rows_per_batch: int) -> float:
    """CPU seconds of three forward passes of these matrix products over so many rows."""
    import torch

    torch.set_num_threads(1)
    pairs = [(torch.randn(rows_per_batch, i), torch.randn(i, o)) for i, o in shapes]
    tried = 200
    for left, right in pairs * 5:
        left @ right
    started = time.process_time()
    for _ in range(tried):
        for left, right in pairs:
            left @ right
    return 3 * (time.process_time() - started) / tried * rows / rows_per_batch


def measured(work: Path, recipe: str, steps: int, *, by_time: bool) -> dict[str, Any]:
    """Cost of training from the table to the checkpoint."""
    for path in work.glob(".bundle.work"):
        shutil.rmtree(path)
    call = f"import training_cost as t; t.train({str(work / 'data')!r}, {str(work / 'bundle')!r}, "
    call += f"{recipe!r}, {steps}, by_time={by_time})"
    found = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), sys.executable, "-c", call],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        capture_output=True,
        check=True,
    )
    cost: dict[str, Any] = json.loads(found.stdout)
    if cost["exit"]:
        raise RuntimeError(cost["printed"].strip()[-2000:])
    return {name: cost[name] for name in ("cpu", "wall", "bytes")}


def write_report(found: dict[str, Any], out: Path) -> None:
    """``training-cost.md`` and ``training-cost.json`` below `out`."""
    whole, one = found["whole"], found["one step"]
    rows = found["rows_per_batch"] * found["steps"]
    steps = whole["cpu"] - one["cpu"]
    peak = max(whole["bytes"], one["bytes"])
    holds = "holds" if peak <= LIMIT else "falls short"
    told = (
        f"Recipe `{found['recipe']}`, width {found['dim']}, on {found['rows']:,} rows × 100 "
        "columns (80 numbers with 5 % nulls, 20 categories of 2 to 1,000 values), split by "
        f"{found['split']}; {found['steps']:,} steps of {found['rows_per_batch']} rows on one "
        "thread. Written by `python benchmarks/training_cost.py`."
    )
    notes = (
        "The floor leaves out reading rows, corruption, losses, optimiser and checkpoints. Peak "
        "memory counts mapped pages of the matrix file, which the system may take back."
    )
    prepared = f"{one['cpu']:.0f} CPU s, {found['rows'] / one['cpu']:,.0f} rows/s"
    rows_of_table = {
        "whole training, from the table to the checkpoint": f"{whole['cpu']:.0f} CPU s",
        "of this: statistics and prepared matrix": prepared,
        "of this: the steps": f"{steps:.0f} CPU s, {rows / steps:,.0f} rows/s",
        "three forward passes of the same matrix products": f"{found['floor']:.1f} CPU s",
        "the steps as a multiple of that floor": f"**{steps / found['floor']:.1f} ×**",
        f"peak resident memory (at most {LIMIT / 1e9:g} GB: {holds})": f"**{peak / 1e9:.2f} GB**",
    }
    lines = ["# What training costs", "", told, "", "| | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows_of_table.items()]
    lines += ["", notes, "", *found["peers"], ""]
    (out / "training-cost.md").write_text("\n".join(lines))
    (out / "training-cost.json").write_text(json.dumps(found, indent=1) + "\n")


PEERS = """\
Not measured: pytorch_tabular 1.2.0, which needs pytorch-lightning beside torch, and row2vec 0.1.0,
which needs TensorFlow, a download of over half a gigabyte.
""".splitlines()


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="denoising")
    parser.add_argument("--rows", type=int, default=TABLE.rows)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--event-time", action="store_true", help="split by time")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/training_cost"))
    given = parser.parse_args()
    work = given.work.resolve() / str(given.rows)
    table = Workload(**(vars(TABLE) | {"rows": given.rows}))
    table.write(work)
    found: dict[str, Any] = {"recipe": given.recipe, "rows": given.rows, "steps": given.steps}
    found["split"] = "time" if given.event_time else "key"
    for name, steps in (("one step", 1), ("whole", given.steps)):
        found[name] = measured(work, given.recipe, steps, by_time=given.event_time)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    found |= json.loads((work / SHAPES).read_text())
    found["floor"] = floor(
        found["shapes"],
        rows=given.steps * found["rows_per_batch"],
        rows_per_batch=found["rows_per_batch"],
    )
    found["peers"] = PEERS
    given.out.mkdir(parents=True, exist_ok=True)
    write_report(found, given.out)


if __name__ == "__main__":
    main()
