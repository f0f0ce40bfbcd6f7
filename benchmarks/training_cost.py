"""What training costs: a million rows by a hundred columns, against the floor of its products.

Usage: python benchmarks/training_cost.py [--recipes neighbours denoising] [--rows 1000000]
                                          [--steps 4000] [--small 50000] [--epochs 10]
                                          [--out docs/benchmarks] [--work build/training_cost]

Makes its own table (80 numbers with nulls, 20 categories, a label that trains nothing) and trains
each recipe on one thread in a process of its own, from the table to the evaluated bundle. CPU
seconds and peak memory are taken stage by stage. The *floor* is three forward passes of the same
matrix products over the same rows, one for the pass itself and two for its gradients; it is timed
between the steps of the same run.

On a smaller table of the same kind the recipes are set beside the denoising autoencoder of
pytorch_tabular and the autoencoder of row2vec (`make trainers`): as many passes over the training
rows, batches of as many rows, embeddings of the same width, one thread. Writes training-cost.md,
training-cost.json and training-cost.svg. About ten CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from training_report import write_report
from training_table import LABEL, TABLE, Related

HERE = Path(__file__).parent
TRAINERS = HERE.parent / ".venv-trainers/bin/python"
PEERS = {"pytorch_tabular": "train_pytorch_tabular.py", "row2vec": "train_row2vec.py"}
ROWS_PER_BATCH, DIM = 256, 16
TRAIN_SHARE = 0.8


def run(command: list[str]) -> dict[str, Any]:
    """What a command costs, on one thread.

    Raises:
        RuntimeError: if it fails, with the end of what it printed.
    """
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    found = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), *command],
        env=inherited | threads,
        capture_output=True,
        check=True,
    )
    cost: dict[str, Any] = json.loads(found.stdout)
    if cost["exit"]:
        raise RuntimeError(cost["printed"].strip()[-600:])
    return {name: cost[name] for name in ("cpu", "wall", "bytes")}


def ours(source: Path, work: Path, recipe: str, *, steps: int, last: str) -> dict[str, Any]:
    """One training of ours; see `training_run`."""
    out = _empty(work / recipe)
    command = [str(HERE / "training_run.py"), str(source), str(out), recipe, str(steps), last]
    cost = run([sys.executable, *command])
    return {"cost": cost, **json.loads((out / "run.json").read_text())}


def beside_peers(
    source: Path, work: Path, recipes: list[str], *, rows: int, epochs: int, peers: Path
) -> dict[str, Any]:
    """Costs and a linear probe of everybody's embedding on a table that all can finish."""
    steps = round(epochs * TRAIN_SHARE * rows / ROWS_PER_BATCH)
    found: dict[str, Any] = {"rows": rows, "epochs": epochs, "contenders": {}, "failed": {}}
    for recipe in recipes:
        cost = ours(source, work, recipe, steps=steps, last="embed")["cost"]
        found["contenders"][f"parquet2vec, {recipe}"] = cost | _probe(source, work / recipe)
        _say(f"{recipe}: {cost}")
    for name, script in PEERS.items():
        out = _empty(work / name)
        call = [str(HERE / "peers" / script), str(source), str(out), str(epochs)]
        try:
            if not peers.exists():
                raise RuntimeError("not installed (make trainers)")
            cost = run([str(peers), *call, str(ROWS_PER_BATCH), str(DIM)])
            found["contenders"][name] = cost | _probe(source, out)
            _say(f"{name}: {cost}")
        except RuntimeError as error:
            found["failed"][name] = str(error)
            _say(f"{name}: {error}")
    return found


def _probe(source: Path, out: Path) -> dict[str, float]:
    """ROC AUC of a linear probe on the embedding of the last tenth of the rows."""
    vectors = StandardScaler().fit_transform(np.load(out / "embedding.npy", allow_pickle=False))
    label = ds.dataset(source).to_table(columns=[LABEL])[LABEL].to_numpy()
    if len(vectors) != len(label):
        raise RuntimeError(f"{len(label)} embeddings are required, found {len(vectors)}")
    cut = len(label) - len(label) // 10
    probe = LogisticRegression(max_iter=1000).fit(vectors[:cut], label[:cut])
    return {"auc": float(roc_auc_score(label[cut:], probe.decision_function(vectors[cut:])))}


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _table(work: Path, rows: int) -> Path:
    return Related(**(vars(TABLE) | {"rows": rows})).write(work / str(rows))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=["neighbours", "denoising"])
    parser.add_argument("--rows", type=int, default=TABLE.rows)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--small", type=int, default=50_000, help="rows of the table for all")
    parser.add_argument("--epochs", type=int, default=10, help="passes over that table")
    parser.add_argument("--peers", type=Path, default=TRAINERS, help="their Python")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/training_cost"))
    given = parser.parse_args()
    work = given.work.resolve()
    found: dict[str, Any] = {"rows": given.rows, "rows_per_batch": ROWS_PER_BATCH, "runs": {}}
    source = _table(work, given.rows)
    for recipe in given.recipes:
        found["runs"][recipe] = ours(
            source, work / "large", recipe, steps=given.steps, last="evaluate"
        )
        _say(f"{recipe}: {found['runs'][recipe]['cost']}")
    found["small"] = beside_peers(
        _table(work, given.small), work / "small", given.recipes,
        rows=given.small, epochs=given.epochs, peers=given.peers,
    )  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    write_report(found, given.out)


if __name__ == "__main__":
    main()
