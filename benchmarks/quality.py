"""Are the embeddings worth it? On every table of a folder, against everything they replace.

Usage: python benchmarks/quality.py FOLDER [TABLE ...] [--seeds 0 1 2] [--widths 4 8 16 32]
                                    [--only REPRESENTATION ...] [--apart cover_rare] [--jobs 2]
                                    [--minutes N] [--out docs/benchmarks] [--work build/quality]

FOLDER holds one folder per table with ``train.parquet`` and ``test.parquet``; both have a key
``row_id``, a column ``label``, and may have ``event_time``. Nothing is configured beyond these
names. Encoders learn from train.parquet, probes from at most 20,000 of its rows, and at most
10,000 rows of test.parquet, which no encoder saw, are scored.

Every result has a file below `--work`, so that an interrupted run goes on and another call adds
seeds or widths; remove the folder after a change of the code. What the claims rest on is measured
first: after `--minutes` nothing new is begun, and the report is written from what there is
(`--minutes 0`: only the report). Writes quality.md, quality.json and quality-*.svg.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

from quality_measure import FIXED, REPRESENTATIONS, Unit, measure
from quality_report import write_report
from quality_tables import WIDTHS, Facts, Table, find_tables


def units(facts: Facts, widths: list[int], seeds: list[int], only: list[str]) -> list[Unit]:
    """Everything that is measured of a table."""
    found = []
    asked = [width for width in facts.widths if width in widths or width in needed(facts)]
    for seed in seeds:
        for name in only:
            if name in FIXED and seed != seeds[0]:
                continue
            if name == "raw":
                found.append(Unit(name, facts.raw_columns, 0))
            elif name == "agreement":
                found.append(Unit(name, facts.default_dim, seed))
            else:
                at = [facts.target_dim] if name == "target-aware" and not widths else asked
                found += [Unit(name, width, 0 if name in FIXED else seed) for width in at]
            if name == "unlabelled" and facts.few_dim not in asked:
                found.append(Unit(name, facts.few_dim, seed))
    return found


def needed(facts: Facts) -> set[int]:
    """Widths that the claims are about; measured whatever `--widths` says."""
    return {facts.default_dim, max(1, facts.default_dim // 2), facts.target_dim}


def urgency(facts: Facts, unit: Unit) -> tuple[int, int]:
    """What to measure first: what claims rest on, seed after seed; then the rest of the picture."""
    if unit.representation in FIXED:
        return 0, 0
    half = unit.width in (facts.default_dim, max(1, facts.default_dim // 2))
    claimed = {
        "unlabelled": half or unit.width in (facts.target_dim, facts.few_dim),
        "kernel PCA": half,
        "target-aware": unit.width == facts.target_dim,
        "agreement": True,
    }
    return (1 if claimed.get(unit.representation, False) else 2), unit.seed


def run(tables: list[Table], plan: list[tuple[Table, Unit]], *, jobs: int, minutes: float) -> None:
    """Measure what is not measured yet, in processes of one thread each, until time is up."""
    until = time.monotonic() + 60 * minutes
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    waiting = iter([one for one in plan if not (one[0].work / one[1].file).exists()])
    done = sum((table.work / unit.file).exists() for table, unit in plan)
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        # A short queue, so that an end of time or an interrupt leaves little to wait for.
        running = {pool.submit(measure, *one): one for one in islice(waiting, jobs)}
        while running:
            future: Future[None] = next(as_completed(running))
            table, unit = running.pop(future)
            done += future.exception() is None
            told = f"failed: {future.exception()!r}" if future.exception() else "done"
            _say(f"{done}/{len(plan)} {table.name} {unit.file.removesuffix('.json')} {told}")
            if time.monotonic() < until:
                running |= {pool.submit(measure, *one): one for one in islice(waiting, 1)}


def prepare(tables: list[Table], *, jobs: int) -> Iterator[Table]:
    """The tables with their rows drawn, as they get ready."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(table.prepare): table for table in tables}
        for future in as_completed(running):
            future.result()
            _say(f"{running[future].name}: rows drawn")
            yield running[future]


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what is asked for and not there yet, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--widths", type=int, nargs="*", default=list(WIDTHS))
    parser.add_argument(
        "--only", nargs="+", default=list(REPRESENTATIONS), choices=list(REPRESENTATIONS)
    )
    parser.add_argument("--apart", nargs="*", default=["cover_rare"], help="left out of all means")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    given = parser.parse_args()
    tables = find_tables(given.folder, given.tables, given.work.resolve())
    ready = sorted(prepare(tables, jobs=given.jobs), key=lambda table: table.name)
    facts = {table.name: table.facts() for table in ready}
    plan = [
        (table, unit)
        for table in ready
        for unit in units(facts[table.name], given.widths, given.seeds, given.only)
    ]
    plan.sort(key=lambda one: urgency(facts[one[0].name], one[1]))
    if given.minutes > 0:
        run(ready, plan, jobs=given.jobs, minutes=given.minutes)
    write_report(ready, given.out, apart=given.apart)


if __name__ == "__main__":
    main()
