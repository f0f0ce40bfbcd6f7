"""False alarms on undrifted files of real tables, and whether planted drift is found in one run.

A table's rows, shuffled, are cut into 30 files: ten train a model, twenty come one a night. Beside
them, on the first night, come files in which one thing is broken.

    python benchmarks/drift.py DATA adult letter --work /tmp/drift --out docs/benchmarks/drift.json

A page is written beside the figures, ``drift.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import DriftReport, EmbeddingJob, MonitorJob, embed, monitor

FILES, TRAINING = 30, 10
ROWS = 2_000
# Of a kind of drift, so many columns are broken, one at a time.
COLUMNS = 6
NOT_FEATURES = ("row_id", "label")
HOW = """The rows of each table were dealt to 30 files: ten trained a `linear` model, twenty came
one a night. On the first night, with one earlier run, files in which one column was broken were
monitored beside them: up to six columns of each kind, one at a time. Found is found in that one
run."""

Plant = Callable[[pa.ChunkedArray], Any]


def planted() -> dict[str, tuple[Callable[[pa.DataType], bool], Plant]]:
    """What is broken, by name: the columns it suits, and what it makes of one."""
    return {
        "values × 1.3": (_is_number, lambda values: pc.multiply(_wide(values), 1.3)),
        "values + 0.5 sd": (_is_number, _shifted),
        "a new category, 5 %": (pa.types.is_string, _with_a_new_one),
        "all null": (lambda _: True, lambda values: pa.nulls(len(values), values.type)),
    }


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _wide(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(pa.float64(), safe=False)


def _shifted(values: pa.ChunkedArray) -> Any:
    wide = _wide(values)
    return pc.add(wide, 0.5 * pc.stddev(wide).as_py())


def _with_a_new_one(values: pa.ChunkedArray) -> pa.Array:
    found = values.to_pylist()
    found[::20] = ["never seen"] * len(found[::20])
    return pa.array(found, values.type)


class Nights:
    """A table that gets a file a night, embedded and monitored."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model

    def run(self, rows: pa.Table, *, to: str = "to") -> DriftReport:
        """The night of `rows`, which were not there before."""
        source = self.folder / "night"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        pq.write_table(rows, source / "rows.parquet")
        destination = str(self.folder / to)
        job = {"bundle": str(self.model), "source": str(source), "destination": destination}
        embed(EmbeddingJob.model_validate(job | {"threads": 1, "keep": 3}))
        return monitor(MonitorJob(destination=destination))

    def aside(self, rows: pa.Table) -> DriftReport:
        """What would be found of `rows`, of which nothing stays."""
        shutil.rmtree(self.folder / "aside", ignore_errors=True)
        shutil.copytree(self.folder / "to", self.folder / "aside", symlinks=True)
        return self.run(rows, to="aside")


def tables(source: Path, *, seed: int, by: str | None) -> list[pa.Table]:
    """The rows of a table in 30 files, dealt at random, or in the order of the column `by`."""
    rows = pa.concat_tables(
        [pq.read_table(source / f"{part}.parquet") for part in ("train", "test")]
    )
    order = np.random.default_rng(seed).permutation(rows.num_rows)[: FILES * ROWS]
    if by is not None:
        order = order[np.argsort(rows[by].to_numpy()[order], kind="stable")]
    return [rows.take(pa.array(piece)) for piece in np.array_split(order, FILES)]


def measure(source: Path, work: Path, *, seed: int, by: str | None = None) -> dict[str, Any]:
    """Alarms of the undrifted nights of one table, and what was found of what was planted."""
    shutil.rmtree(work, ignore_errors=True)
    files = tables(source, seed=seed, by=by)
    model = train(files[:TRAINING], work)
    nights = Nights(work, model)
    undrifted = [nights.run(files[TRAINING])]
    drifts = {
        name: list(_found(nights, files[TRAINING + 1], *how)) for name, how in planted().items()
    }
    undrifted += [nights.run(rows) for rows in files[TRAINING + 1 :]]
    return {
        "table": source.name if by is None else f"{source.name} by {by}",
        "seed": seed,
        "rows": files[0].num_rows,
        "columns": len(undrifted[0].columns),
        "nights": len(undrifted),
        "alarms": [_told(one) for one in undrifted if one.drifted],
        "planted": drifts,
    }


def train(files: list[pa.Table], work: Path) -> Path:
    """A model of some files, by the command line."""
    folder, model = work / "table", work / "model"
    folder.mkdir(parents=True)
    for place, rows in enumerate(files):
        pq.write_table(rows, folder / f"{place:02}.parquet")
    words = ["train", folder, "--out", model, "--recipe", "linear", "--dim", 8, "--key", "row_id"]
    words += ["--ignore", "label"]
    command = Path(sys.executable).with_name("parquet2vec")
    subprocess.run([command, *map(str, words)], check=True, capture_output=True)
    return model


def _found(
    nights: Nights, rows: pa.Table, suits: Callable[[pa.DataType], bool], plant: Plant
) -> Iterator[dict[str, Any]]:
    """What is found when each of some columns is broken: the column itself, or any other."""
    names = [f.name for f in rows.schema if suits(f.type) and f.name not in NOT_FEATURES]
    for name in names[:: max(1, len(names) // COLUMNS)][:COLUMNS]:
        broken = rows.set_column(rows.column_names.index(name), name, plant(rows[name]))
        report = nights.aside(broken)
        moved = {column.column for column in report.columns if column.drifted}
        own = [column for column in report.columns if column.column == name]
        yield {
            "column": name,
            "found": report.drifted,
            "named": name in moved,
            "findings": [f.model_dump() for column in own for f in column.findings],
        }


def _told(report: DriftReport) -> list[dict[str, Any]]:
    return [
        {"column": column.name, "findings": [f.model_dump() for f in column.findings if f.drifted]}
        for column in report.columns
        if column.drifted
    ]


def page(known: dict[str, Any]) -> str:
    """The figures of all tables, as Markdown."""
    nights = sum(one["nights"] for one in known.values())
    alarms = sum(len(one["alarms"]) for one in known.values())
    kinds = list(planted())
    rows = [
        f"| {one['table']} | {one['rows']:,} | {one['columns']} | {len(one['alarms'])} of "
        f"{one['nights']} | {' | '.join(_share(one['planted'][kind]) for kind in kinds)} |"
        for one in known.values()
    ]
    missed = [
        f"- {one['table']}, {kind}: {', '.join(names)}"
        for one in known.values()
        for kind in kinds
        if (
            names := [
                f"`{found['column']}`" for found in one["planted"][kind] if not found["found"]
            ]
        )
    ]
    return "\n".join(
        [
            "# Drift: false alarms, and what is found",
            "",
            f"**{alarms} false alarms in {nights} undrifted runs.**",
            "",
            HOW,
            "",
            f"| table | rows a file | columns and latents | false alarms | {' | '.join(kinds)} |",
            f"|---{'|---:' * (3 + len(kinds))}|",
            *rows,
            "",
            "Not found:",
            "",
            *missed,
            "",
            "Regenerate with `benchmarks/drift.py`, which says how.",
            "",
        ]
    )


def _share(found: list[dict[str, Any]]) -> str:
    return f"{sum(one['found'] for one in found)} of {len(found)}" if found else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by", help="column that says which rows come first")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.tables:
        known[f"{name}/{asked.by or asked.seed}"] = measure(
            asked.data / name, asked.work / name, seed=asked.seed, by=asked.by
        )
        asked.out.write_text(json.dumps(known, indent=1) + "\n")
        asked.out.with_suffix(".md").write_text(page(known))


if __name__ == "__main__":
    main()
