"""Is the default embedding better than PCA of the same width? On every table of a folder.

Usage: python benchmarks/quality.py FOLDER [TABLE ...] [--out docs/benchmarks]

FOLDER holds one folder per table with ``train.parquet`` and ``test.parquet``; both have a key
``row_id``, a column ``label``, and may have ``event_time``. Every table is trained with no
configuration beyond these names, and measured on its test rows, which the encoder never saw.
Finished tables are kept below ``build/quality``, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyarrow.parquet as pq

from export import export
from training.evaluation import evaluate
from training.fit import fit
from training.results import Evaluation, Representation
from training.spec import TrainingJob

WORK = Path("build/quality")
COLUMNS: tuple[Representation, ...] = ("embedding", "PCA", "raw")
HEAD = """\
# Default embedding against PCA of the same width

Linear probe on rows the encoder never saw: ROC AUC for two classes, accuracy otherwise. One seed,
default settings; the lead in points with its paired bootstrap error. PCA is the fixed baseline:
median-imputed, standardised, clipped, with missing-indicators, one-hot.

| table | recipe | width | embedding | PCA | raw | ahead of PCA | fits faster than raw | CPU |
|---|---|---|---|---|---|---|---|---|"""


def measure(table: Path) -> tuple[Evaluation, float]:
    """The evaluation of the default on one table, and the CPU seconds of training."""
    bundle, kept = WORK / table.name, WORK / f"{table.name}.json"
    seconds = WORK / f"{table.name}.seconds"
    if kept.exists():
        return Evaluation.model_validate_json(kept.read_bytes()), float(seconds.read_text())
    names = pq.read_schema(table / "train.parquet").names
    job = TrainingJob(
        source=str(table / "train.parquet"),
        out=str(bundle),
        key=("row_id",),
        label=("label",),
        event_time="event_time" if "event_time" in names else None,
    )
    started = time.process_time()
    export(fit(job), bundle)
    WORK.mkdir(parents=True, exist_ok=True)
    seconds.write_text(f"{time.process_time() - started:.1f}")
    found = evaluate(str(bundle), job.source, "label", test=str(table / "test.parquet"))
    kept.write_text(found.model_dump_json(indent=1))
    return measure(table)


def row(name: str, found: Evaluation, seconds: float) -> str:
    """One line of the table."""
    scores = {one: found.score(one, "linear") for one in COLUMNS}
    lead = found.lead("PCA", "linear")
    cells = [f"{scores[one].score:.3f}" for one in COLUMNS]
    times = [scores[one].fit_seconds for one in ("embedding", "raw")]
    return (
        f"| {name} | {found.recipe} | {found.health.dim} | {' | '.join(cells)} "
        f"| {lead.points:+.1f} ± {lead.standard_error:.1f} "
        f"| {times[1] / times[0]:.1f} × | {seconds:.0f} s |"
    )


def main() -> None:
    """Measure every table and write ``quality.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    given = parser.parse_args()
    found = sorted(path.parent for path in given.folder.glob("*/train.parquet"))
    chosen = [path for path in found if not given.tables or path.name in given.tables]
    lines = [HEAD]
    for table in chosen:
        lines.append(row(table.name, *measure(table)))
        print(lines[-1], flush=True)
    lines += [
        "",
        "CPU: seconds to train and export. Written by `python benchmarks/quality.py`.",
        "",
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "quality.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
