"""Do reconstruction errors find rare events? Against isolation forests and PCA's own error.

Usage: python benchmarks/anomaly.py FOLDER [--table NAME --label COL --rare VALUE [--usual VALUE]]
                                    [--recipe denoising] [--seeds 0 1 2] [--out docs/benchmarks]
                                    [--work build/anomaly]

FOLDER holds one folder per table with ``train.parquet`` and ``test.parquet``. Nobody tells a model
which rows are rare, and they are in the training table as they would be in life: 1 % of at most
10,000 rows. Test rows have the same share. Every result has a file below `--work`, so that a run
that was interrupted goes on; remove the folder after a change of the code. Writes anomaly.md,
anomaly.json and anomaly.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from anomaly_report import write_report
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from pipeline.schema import FeatureSchema
from training.baselines import fit_pca, fit_raw_matrix, read
from training.checkpoint import Checkpoint
from training.corruption import Rows
from training.fit import fit, work_folder
from training.spec import TrainingJob

SHARE = 0.01
TRAIN_ROWS, TEST_ROWS = 10_000, 20_000
REFERENCES, NEIGHBOURS = 5_000, 10
_NOT_FEATURES = ("row_id", "event_time")
_ROWS_PER_RUN = 4_096

Scores = np.ndarray


@dataclass(frozen=True)
class Case:
    """A table, the value of its label that is made rare, and the one that is usual (None: all)."""

    name: str
    table: str
    label: str
    rare: str
    usual: str | None = None


CASES = (
    Case("cover_rare", "cover_rare", "label", "1"),
    Case("bank_marketing", "bank_marketing", "label", "yes"),
    Case("magic", "magic", "label", "h"),
    Case("spambase", "spambase", "label", "1"),
    Case("mnist 6 among 0", "mnist_pixels", "label", "6", "0"),
)


@dataclass(frozen=True)
class Part:
    """Rows and which of them are rare."""

    table: pa.Table
    rare: np.ndarray


@dataclass(frozen=True)
class Trained:
    """What every method may learn from: no label among it."""

    checkpoint: Checkpoint
    train: pa.Table
    test: pa.Table
    seed: int

    @property
    def schema(self) -> FeatureSchema:
        return self.checkpoint.schema


def take(case: Case, path: Path, *, rows: int, seed: int) -> Part:
    """At most `rows` rows of a file, 1 % of them rare, in an order drawn by `seed`."""
    table = pq.read_table(path)
    told = np.array([str(value) for value in table[case.label].to_pylist()])
    random = np.random.default_rng(seed)
    rare = random.permutation(np.flatnonzero(told == case.rare))
    usual = random.permutation(
        np.flatnonzero(told != case.rare if case.usual is None else told == case.usual)
    )
    count = min(rows, len(usual) + round(len(usual) * SHARE / (1 - SHARE)))
    few = min(len(rare), round(count * SHARE))
    picked = random.permutation(np.concatenate([rare[:few], usual[: count - few]]))
    kept = [name for name in table.column_names if name not in _NOT_FEATURES]
    return Part(table.select(kept).take(pa.array(picked)), np.isin(picked, rare[:few]))


def prepared(model: Trained, table: pa.Table) -> Rows:
    """The rows of a table as the network takes them."""
    return Rows(*(torch.from_numpy(part) for part in model.checkpoint.prologue.run(table)))


def cut(rows: Rows) -> list[Rows]:
    return [Rows(*parts) for parts in zip(*(one.split(_ROWS_PER_RUN) for one in rows), strict=True)]


@torch.no_grad()
def error(model: Trained) -> Scores:
    """What `embed --scores` adds to each row."""
    module = model.checkpoint.module
    parts = [module.reconstruction_error(*rows) for rows in cut(prepared(model, model.test))]
    return torch.cat(parts).numpy()


@torch.no_grad()
def relative_errors(model: Trained) -> np.ndarray:
    """The error of each value over its own mean error on the training rows [rows, values]."""
    module = model.checkpoint.module

    def errors(table: pa.Table) -> torch.Tensor:
        found = []
        for rows in cut(prepared(model, table)):
            codes = module.latent.restore(module.embed(*rows))
            found.append(module.likelihood.errors(module.decoder(codes), rows))
        return torch.cat(found)

    usual = errors(model.train).mean(0).clamp_min(1e-4)
    return (errors(model.test) / usual).numpy()


def scaled_error(model: Trained) -> Scores:
    """The reconstruction error with every value in units of its usual error."""
    return relative_errors(model).mean(axis=1)


def error_and_code(model: Trained) -> Scores:
    """How unlikely a row is: its scaled errors and its code's distance, both squared, summed.

    As in probabilistic PCA: a normal code, and normal residuals of which each has its variance.
    """
    return relative_errors(model).sum(axis=1) + mahalanobis(model)


@torch.no_grad()
def codes(model: Trained, table: pa.Table) -> np.ndarray:
    module = model.checkpoint.module
    return torch.cat([module.embed(*rows) for rows in cut(prepared(model, table))]).numpy()


def mahalanobis(model: Trained) -> Scores:
    """Distance of the code from the mean of the training rows' codes, in their covariance."""
    known, asked = codes(model, model.train), codes(model, model.test)
    spread = np.linalg.pinv(np.cov(known, rowvar=False).reshape(known.shape[1], -1))
    apart = asked - known.mean(axis=0)
    return np.einsum("ij,jk,ik->i", apart, spread, apart)


def neighbours(model: Trained) -> Scores:
    """Mean distance of the code to its ten nearest among 5,000 training rows."""
    known = codes(model, model.train)[:REFERENCES]
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(known)
    return near.kneighbors(codes(model, model.test))[0].mean(axis=1)


def forest(model: Trained) -> Scores:
    """scikit-learn's isolation forest on the raw columns, neither clipped nor scaled."""
    trees = IsolationForest(random_state=model.seed).fit(raw(model, model.train))
    return -trees.score_samples(raw(model, model.test))


def raw(model: Trained, table: pa.Table) -> np.ndarray:
    """Numbers with nulls at the training median, categories one-hot [rows, columns]."""
    fitted = fit_raw_matrix(model.train, model.schema)
    matrix = fitted.transform(table)
    blocks = []
    for column in model.schema.features:
        block = matrix[:, fitted.slices()[column.name]]
        if column.kind != "category":
            values = read(table, column)
            block = np.where(np.isnan(values), fitted.blocks[column.name].median, values)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def forest_on_codes(model: Trained) -> Scores:
    """An isolation forest on the codes."""
    trees = IsolationForest(random_state=model.seed).fit(codes(model, model.train))
    return -trees.score_samples(codes(model, model.test))


def pca_error(model: Trained) -> Scores:
    """Squared error of the raw matrix given back by as many principal components."""
    fitted = fit_raw_matrix(model.train, model.schema)
    matrix = fitted.transform(model.train)
    pca = fit_pca(matrix, dim=model.checkpoint.spec.dim, seed=0)
    asked = fitted.transform(model.test)
    return ((asked - pca.inverse_transform(pca.transform(asked))) ** 2).mean(axis=1)


METHODS: dict[str, Callable[[Trained], Scores]] = {
    "reconstruction error": error,
    "error, scaled by column": scaled_error,
    "error and code together": error_and_code,
    "code: Mahalanobis": mahalanobis,
    "code: 10 neighbours": neighbours,
    "code: isolation forest": forest_on_codes,
    "isolation forest": forest,
    "PCA error": pca_error,
}


def measure(case: Case, folder: Path, *, recipe: str, seed: int, work: Path) -> dict[str, Any]:
    """ROC AUC and average precision of every method, and the seconds that it took."""
    parts = {
        name: take(case, folder / case.table / f"{name}.parquet", rows=rows, seed=seed)
        for name, rows in (("train", TRAIN_ROWS), ("test", TEST_ROWS))
    }
    source, out = work / "table.parquet", work / "model"
    pq.write_table(parts["train"].table, source)
    began = time.process_time()
    checkpoint = fit(
        TrainingJob(
            source=str(source), out=str(out), recipe=recipe, ignore=(case.label,), seed=seed
        )
    )
    trained = Trained(checkpoint, parts["train"].table, parts["test"].table, seed)
    seconds = time.process_time() - began
    shutil.rmtree(work_folder(out))
    found = {}
    for name, method in METHODS.items():
        began = time.process_time()
        scores = method(trained)
        found[name] = {
            "auc": float(roc_auc_score(parts["test"].rare, scores)),
            "precision": float(average_precision_score(parts["test"].rare, scores)),
            "seconds": time.process_time() - began,
        }
    return {
        "case": asdict(case),
        "seed": seed,
        "recipe": recipe,
        "dim": checkpoint.spec.dim,
        "rows": {name: len(part.rare) for name, part in parts.items()},
        "rare": {name: int(part.rare.sum()) for name, part in parts.items()},
        "training_seconds": seconds,
        "methods": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    for name in ("table", "label", "rare", "usual"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--recipe", default="denoising")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/anomaly"))
    given = parser.parse_args()
    cases = CASES
    if given.table is not None:
        if given.label is None or given.rare is None:
            parser.error("--table needs --label and --rare")
        cases = (Case(given.table, given.table, given.label, given.rare, given.usual),)
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    results = []
    for case in cases:
        for seed in given.seeds:
            name = f"{case.name} {case.rare} {given.recipe} {seed}.json".replace(" ", "-")
            path = given.work / name
            if not path.exists():
                found = measure(case, given.folder, recipe=given.recipe, seed=seed, work=given.work)
                stage = path.with_suffix(".tmp")
                stage.write_text(json.dumps(found, indent=1))
                stage.replace(path)
            results.append(json.loads(path.read_text()))
            told = {n: round(f["auc"], 3) for n, f in results[-1]["methods"].items()}
            print(case.name, seed, told, flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    write_report(results, given.out)


if __name__ == "__main__":
    main()
