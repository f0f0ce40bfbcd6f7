"""The tables of `quality.py`: their rows, drawn once, and what is known of them before training."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards import read_batches
from pipeline.source import open_source
from training.baselines import Matrix, fit_raw_matrix
from training.evaluation import TEST_ROWS, TRAIN_ROWS
from training.fit import fit
from training.layout import Layout
from training.rows import Target, draw, target
from training.scoring import Task
from training.shortlist import NARROW
from training.spec import TrainingJob, default_dim

KEY, LABEL, TIME = "row_id", "label", "event_time"
WIDTHS = (4, 8, 16, 32)
OVERCOMPLETE = 128
_FACTS = "facts.json"


@dataclass(frozen=True)
class Facts:
    """What is known of a table before anything of interest is trained on it.

    `width` is its flattened prepared width, `raw_columns` the columns of the raw baseline,
    `raw_seconds` what it takes to make those of all drawn rows.
    """

    task: Task
    classes: int
    rows: int
    train_rows: int
    test_rows: int
    width: int
    raw_columns: int
    raw_seconds: float

    @property
    def default_dim(self) -> int:
        """The width of an embedding when nobody names one."""
        return default_dim(self.width)

    @property
    def widths(self) -> list[int]:
        """The widths to measure: `WIDTHS` that fit, the default and half of it."""
        fit_in = {width for width in WIDTHS if width <= self.width}
        return sorted(fit_in | {self.default_dim, max(1, self.default_dim // 2)})

    @property
    def target_dim(self) -> int:
        """The widest of `WIDTHS` up to 16 that fits: where an encoder that saw labels is judged."""
        return max([width for width in WIDTHS if width <= min(16, self.width)], default=1)

    @property
    def few_dim(self) -> int:
        """The width for few labels: of a narrow table, more numbers than it has columns."""
        return OVERCOMPLETE if self.width < NARROW else self.target_dim


@dataclass(frozen=True)
class Table:
    """A folder with train.parquet and test.parquet, and the folder its drawn rows are kept in."""

    source: Path
    work: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.source.name

    def job(self, *, out: Path, seed: int = 0, dim: int | None = None) -> TrainingJob:
        """Training on this table without its label: only key and event time are named."""
        names = pq.read_schema(self.source / "train.parquet").names
        return TrainingJob(
            source=str(self.source / "train.parquet"),
            out=str(out),
            key=(KEY,),
            ignore=(LABEL,),
            event_time=TIME if TIME in names else None,
            dim=dim,
            seed=seed,
        )

    def facts(self) -> Facts:
        """What `prepare` found."""
        return Facts(**json.loads((self.work / _FACTS).read_bytes()))

    def prepare(self) -> None:
        """Draw the probes' rows and make their raw matrix, once."""
        if (self.work / _FACTS).exists():
            return
        self.work.mkdir(parents=True, exist_ok=True)
        drawn = {part: self._draw(part, cap) for part, cap in _CAPS.items()}
        linear = self.job(out=self.work / "linear", dim=1).model_copy(update={"recipe": "linear"})
        checkpoint = fit(linear)
        started = time.process_time()
        raw = fit_raw_matrix(drawn["train"], checkpoint.schema)
        for part, rows in drawn.items():
            np.save(self.work / f"{part}.npy", raw.transform(rows))
            pq.write_table(rows, self.work / f"{part}.parquet")
        seconds = time.process_time() - started
        goal = _goal(drawn)
        facts = Facts(
            task=goal.task,
            classes=len(goal.classes),
            rows=open_source(linear.source).rows,
            train_rows=drawn["train"].num_rows,
            test_rows=drawn["test"].num_rows,
            width=Layout.of(checkpoint.prologue).width,
            raw_columns=raw.width,
            raw_seconds=round(seconds, 4),
        )
        (self.work / _FACTS).write_text(json.dumps(vars(facts), indent=1))

    def drawn(self) -> dict[str, pa.Table]:
        """The drawn rows of both parts, with all columns."""
        return {part: pq.read_table(self.work / f"{part}.parquet") for part in _CAPS}

    def goal(self) -> Target:
        """The label of the drawn rows."""
        return _goal(self.drawn())

    def raw(self) -> dict[str, Matrix]:
        """The raw baseline's matrix of both parts, float32 [rows, columns]."""
        return {part: np.load(self.work / f"{part}.npy", allow_pickle=False) for part in _CAPS}

    def _draw(self, part: str, cap: int) -> pa.Table:
        source = open_source(str(self.source / f"{part}.parquet"))
        batches = read_batches(source, columns=source.arrow_schema.names)
        found = draw(batches, assign=_all, caps={0: cap}, label=LABEL)[0].table
        return found.combine_chunks()


_CAPS = {"train": TRAIN_ROWS, "test": TEST_ROWS}


def _all(batch: pa.RecordBatch, first_row: int) -> np.ndarray:
    return np.zeros(batch.num_rows, np.uint8)


def _goal(drawn: dict[str, pa.Table]) -> Target:
    return target(LABEL, drawn["train"][LABEL], drawn["test"][LABEL])


def find_tables(folder: Path, names: list[str], work: Path) -> list[Table]:
    """The tables of a folder, all of them or those that are named, in alphabetical order."""
    found = sorted(path.parent for path in folder.glob("*/train.parquet"))
    missing = set(names) - {path.name for path in found}
    if missing:
        raise SystemExit(f"{folder} has no table {', '.join(sorted(missing))}")
    return [Table(path, work / path.name) for path in found if not names or path.name in names]
