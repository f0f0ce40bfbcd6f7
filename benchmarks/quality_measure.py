"""One unit of work of `quality.py`: a table by a representation, of one width and seed, probed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality_few import few_labels
from quality_probes import PROBES
from quality_tables import LABEL, Table

from training.baselines import Matrix, fit_kernel_pca, fit_pca, random_projection
from training.candidates import embed_rows
from training.checkpoint import Checkpoint
from training.fit import fit, work_folder
from training.probes import answer
from training.scoring import Array, Task, resample, score
from training.spec import TrainingJob

RESAMPLES = 300


@dataclass(frozen=True)
class Unit:
    """What is measured by itself, kept in a file of its own, and not measured twice."""

    representation: str
    width: int
    seed: int

    @property
    def file(self) -> str:
        """Name of the result below the table's work folder."""
        return f"{self.representation.replace(' ', '_')}-{self.width}-{self.seed}.json"


@dataclass(frozen=True)
class Encoded:
    """Drawn rows as a representation, [rows, width] float32, and the CPU seconds it took.

    `fit_seconds` is what it took to learn how (for ours: to train), `encode_seconds` all drawn rows
    of both parts, from the table. `told` is kept with the result.
    """

    train: Matrix
    test: Matrix
    fit_seconds: float
    encode_seconds: float
    told: dict[str, Any] = field(default_factory=dict)


def measure(table: Table, unit: Unit) -> None:
    """Leave the result of `unit` in its file."""
    kept = table.work / unit.file
    if kept.exists():
        return
    torch.set_num_threads(1)
    facts, goal = table.facts(), table.goal()
    encoded = REPRESENTATIONS[unit.representation](table, unit)
    result: dict[str, Any] = {
        "table": table.name,
        **vars(unit),
        "columns": encoded.train.shape[1],
        "fit_seconds": round(encoded.fit_seconds, 3),
        "encode_seconds": round(encoded.encode_seconds, 4),
        **encoded.told,
    }
    if unit.representation != "agreement":
        result["probes"] = probe_all(
            encoded, goal.train, goal.test, task=goal.task, classes=len(goal.classes),
            seed=unit.seed,
        )  # fmt: skip
        if unit.representation == "raw" or (
            unit.representation == "unlabelled" and unit.width == facts.few_dim
        ):
            result["few"] = few_labels(
                encoded.train, encoded.test, goal, all_rows=facts.rows, resamples=RESAMPLES,
            )  # fmt: skip
    waiting = kept.with_suffix(".part")
    waiting.write_text(json.dumps(result))
    waiting.replace(kept)


def probe_all(
    encoded: Encoded, train: Array, test: Array, *, task: Task, classes: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each probe, and its score under the resamples that all units share."""
    weights = resample(len(test), resamples=RESAMPLES)
    found: dict[str, dict[str, Any]] = {}
    for name, probe in PROBES.items():
        told = answer(
            probe, encoded.train, train, encoded.test, task=task, classes=classes, seed=seed,
            clock=time.process_time,
        )  # fmt: skip
        lines = score(task, test, told.predicted, weights)
        found[name] = {
            "fit_seconds": told.fit_seconds,
            "predict_seconds": told.predict_seconds,
            "lines": [round(float(line), 5) for line in lines],
        }
    return found


def _unlabelled(table: Table, unit: Unit) -> Encoded:
    return _ours(table, unit, {})


def _target_aware(table: Table, unit: Unit) -> Encoded:
    return _ours(table, unit, {"ignore": (), "label": (LABEL,), "use_label": True})


def _agreement(table: Table, unit: Unit) -> Encoded:
    """The same candidates, chosen by the label: what the choice without one is compared with."""
    return _ours(table, unit, {"ignore": (), "label": (LABEL,)})


def _ours(table: Table, unit: Unit, changes: dict[str, Any]) -> Encoded:
    out = table.work / unit.file.removesuffix(".json")
    job = table.job(out=out, seed=unit.seed, dim=unit.width)
    job = TrainingJob.model_validate(job.model_dump() | changes)
    started = time.process_time()
    checkpoint = fit(job)
    trained = time.process_time() - started
    drawn = table.drawn()
    started = time.process_time()
    codes = [_embed(checkpoint, drawn[part]) for part in ("train", "test")]
    seconds = time.process_time() - started
    shutil.rmtree(work_folder(out))
    told = {"recipe": checkpoint.spec.recipe, "selection": checkpoint.selection}
    return Encoded(codes[0], codes[1], trained, seconds, told)


def _embed(checkpoint: Checkpoint, rows: Any) -> Matrix:
    runs = [
        embed_rows(checkpoint.module, checkpoint.prologue.run(batch))
        for batch in rows.to_batches(max_chunksize=8_192)
    ]
    return np.concatenate(runs)


def _fitted(learn: Callable[..., Any]) -> Callable[[Table, Unit], Encoded]:
    """A representation that scikit-learn learns from the raw columns."""

    def encode(table: Table, unit: Unit) -> Encoded:
        raw = table.raw()
        started = time.process_time()
        model = learn(raw["train"], dim=unit.width, seed=unit.seed)
        learnt = time.process_time() - started
        return _transformed(table, raw, model.transform, learnt)

    return encode


def _random(table: Table, unit: Unit) -> Encoded:
    raw = table.raw()
    thrown = random_projection(raw["train"].shape[1], dim=unit.width, seed=unit.seed)
    return _transformed(table, raw, lambda rows: rows @ thrown, 0.0)


def _transformed(
    table: Table, raw: dict[str, Matrix], transform: Callable[[Matrix], Any], learnt: float
) -> Encoded:
    started = time.process_time()
    codes = {part: np.asarray(transform(rows), np.float32) for part, rows in raw.items()}
    seconds = time.process_time() - started + table.facts().raw_seconds
    return Encoded(codes["train"], codes["test"], learnt, seconds)


def _raw(table: Table, unit: Unit) -> Encoded:
    raw = table.raw()
    return Encoded(raw["train"], raw["test"], 0.0, table.facts().raw_seconds)


REPRESENTATIONS: dict[str, Callable[[Table, Unit], Encoded]] = {
    "unlabelled": _unlabelled,
    "target-aware": _target_aware,
    "PCA": _fitted(fit_pca),
    "kernel PCA": _fitted(fit_kernel_pca),
    "random": _random,
    "raw": _raw,
    "agreement": _agreement,
}
FIXED = ("PCA", "raw")
"""Representations that no seed changes: measured once."""


def load(path: Path) -> dict[str, Any]:
    """A result that `measure` left."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
