"""How the cost of `parquet2vec embed` grows: with rows, columns, files and workers.

Usage: python benchmarks/scaling.py [--scale 1.0] [--rounds 3] [--out docs/benchmarks]
                                    [--work build/scaling]

Every point is a process of its own, measured from outside; the points take turns, round after
round, and a point that takes long is measured fewer times. A long table is a few distinct files
under many names, so that fifty million rows fit on a small disk. Writes scaling.md, scaling.json
and scaling.svg. Rounds are added to those in scaling.json: delete it to measure anew. With
`--rounds 0` only the report is written again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import EMBED
from scaling_report import write_report
from workloads import Workload

HERE = Path(__file__).parent
MILLION = 1_000_000
LAYERS = (64, 8)
# A point is not repeated once it has taken this many seconds.
PATIENCE = 25
# A shard is at most so many bytes, and that is how long the files of a wide table are made.
SHARD_BYTES = 120 * 2**20


@dataclass(frozen=True)
class Point:
    """A table to embed: the files of `shape`, again and again under other names, `files` in all.

    `workers` processes share it, each with its own files; 0 is one process with all of them.
    `phases` splits the cost into planning, mapping and publishing. `added` files are embedded in
    a second run, and only that one is measured.
    """

    curve: str
    shape: Workload
    files: int
    threads: int | None = None
    workers: int = 0
    phases: bool = False
    added: int = 0

    @property
    def name(self) -> str:
        """Unique among the points, and the name of its folder."""
        how = f"-threads-{self.threads}" if self.threads else ""
        return f"{self.curve}-{self.shape.name}-{self.files}-{self.workers}{how}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the report needs to know of it."""
        return {
            "curve": self.curve,
            "rows": self.files * (self.shape.rows // self.shape.files),
            "columns": self.shape.numeric,
            "files": self.files,
            "threads": self.threads,
            "workers": self.workers,
            "added": self.added,
        }


def narrow(name: str, rows: int, files: int) -> Workload:
    """Sixteen floats, the shape of `floats-16` in throughput.md."""
    return Workload(name, rows, 16, LAYERS, files=files)


def wide(columns: int, scale: float) -> Workload:
    """`columns` floats, three files of one full shard each."""
    rows = int(scale * min(MILLION, SHARD_BYTES // (4 * columns + 16)))
    return Workload(f"columns-{columns}", 3 * rows, columns, LAYERS, files=3, sample=4_096)


def points(scale: float) -> list[Point]:
    """All points, tables `scale` times as long."""
    rows = int(scale * MILLION)
    millions, quarters = narrow("millions", 8 * rows, 8), narrow("quarters", 2 * rows, 8)
    split = [narrow(f"files-{files}", rows, files) for files in (1, 10, 100, 1_000, 10_000)]
    small = Workload("small-files-200", rows // 10, 200, LAYERS, files=1_000, sample=4_096)
    return [
        *(Point("rows", millions, files) for files in (1, 5, 20, 50)),
        *(
            Point("columns", wide(columns, scale), files)
            for columns in (8, 32, 128, 512, 2_000)
            for files in (1, 3)
        ),
        *(Point("files", shape, shape.files) for shape in split),
        *(Point("phases", shape, shape.files, phases=True) for shape in (*split, small)),
        Point("phases", millions, 20, phases=True),
        *(
            Point("phases", wide(columns, scale), files, phases=True)
            for columns in (512, 2_000)
            for files in (1, 3)
        ),
        *(Point("threads", millions, 8, threads=threads) for threads in (1, 2)),
        *(Point("workers", quarters, 32, workers=n) for n in (1, 2, 4, 8, 16, 32)),
        Point("reuse", millions, 21, added=1),
    ]


@dataclass(frozen=True)
class Bench:
    """A point on disk."""

    point: Point
    work: Path

    @property
    def folder(self) -> Path:
        return self.work / self.point.name

    def make(self) -> int:
        """Write what is not there yet; returns the bytes of the table."""
        shape = self.work / self.point.shape.name
        distinct = sorted(self.point.shape.write(shape).glob("*.parquet"))
        self.point.shape.bundle(shape)
        shares = max(1, self.point.workers)
        size = 0
        for index in range(self.point.files):
            source = distinct[index % len(distinct)]
            late = index >= self.point.files - self.point.added
            folder = self.folder / ("late" if late else f"share-{index % shares}")
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / f"{index:05d}.parquet").exists():
                os.link(source, folder / f"{index:05d}.parquet")
            size += source.stat().st_size
        return size

    def run(self) -> dict[str, Any]:
        """The cost of one run; nothing of it is left."""
        try:
            costs = list(self._runs())
        finally:
            shutil.rmtree(self.folder / "out", ignore_errors=True)
        total = {what: sum(cost[what] for cost in costs) for what in ("cpu", "wall")}
        slowest = max(costs, key=lambda cost: cost["cpu"])
        split = {"phases": json.loads(costs[0]["printed"])} if self.point.phases else {}
        return {**total, **split, "slowest": slowest["cpu"], "bytes": slowest["bytes"]}

    def _runs(self) -> Iterator[dict[str, Any]]:
        for index in range(max(1, self.point.workers)):
            source, out = self.folder / f"share-{index}", self.folder / "out" / str(index)
            if not self.point.added:
                yield self._measure(source, out)
                continue
            first = self._measure(source, out)
            for path in (self.folder / "late").iterdir():
                os.link(path, source / path.name)
            try:
                yield {**self._measure(source, out), "first": first["cpu"]}
            finally:
                for path in (self.folder / "late").iterdir():
                    (source / path.name).unlink()

    def _measure(self, source: Path, out: Path) -> dict[str, Any]:
        bundle = self.work / self.point.shape.name / "bundle"
        threads = 1 if self.point.workers else self.point.threads
        options = ("--json", *(("--threads", str(threads)) if threads else ()))
        command = EMBED.call(bundle, source, out, options)
        if self.point.phases:
            command = [sys.executable, str(HERE / "phases.py"), *command[2:5]]
        out.parent.mkdir(exist_ok=True)
        measured = subprocess.run(
            [sys.executable, str(HERE / "measure.py"), *command],
            env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # as the command line has it
            capture_output=True,
            check=True,
        )
        cost: dict[str, Any] = json.loads(measured.stdout)
        if cost["exit"]:
            sys.exit(f"{self.point.name}: exit {cost['exit']}: {cost['printed'].strip()[-600:]}")
        return cost


def main() -> None:
    """Measure all points in turns, and write the report at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/scaling"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "scaling.json"
    found: dict[str, Any] = json.loads(kept.read_bytes()) if kept.exists() else {}
    benches = [Bench(point, given.work.resolve()) for point in points(given.scale)]
    for bench in benches if given.rounds else ():
        facts = {**bench.point.facts, "source_bytes": bench.make()}
        found[bench.point.name] = facts | {"runs": found.get(bench.point.name, {}).get("runs", [])}
    for index in range(given.rounds):
        for bench in benches:
            runs = found[bench.point.name]["runs"]
            if sum(run["wall"] for run in runs) < PATIENCE:
                runs.append(bench.run())
                kept.write_text(json.dumps(found, indent=1) + "\n")
                print(index + 1, bench.point.name, runs[-1], file=sys.stderr, flush=True)
    write_report(found, given.out)


if __name__ == "__main__":
    main()
