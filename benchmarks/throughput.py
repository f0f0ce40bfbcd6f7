"""What a million rows cost: `parquet2vec embed` against the limit and against other engines.

Usage: python benchmarks/throughput.py [WORKLOAD ...] [--scale 1.0] [--rounds 5] [--peers NAME,...]
                                       [--out docs/benchmarks] [--work build/throughput]

Makes its own tables, checks that all outputs agree, and measures everything in one run and in
turns (A B C A B C …), each in a process of its own, on two sizes: the slope between them is the
cost of rows, what is left is start-up. Writes throughput.md, throughput.json and throughput.svg;
workloads that are not named keep the figures of the run before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contenders import EMBED, ON_REQUEST, PARTS, PEERS, Contender, Setting, missing
from throughput_report import write_report
from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent
SMALL = 4  # the small table is a quarter of the files of the large one


@dataclass(frozen=True)
class Bench:
    """One workload on disk: its bundle and the two tables."""

    workload: Workload
    folder: Path

    @classmethod
    def make(cls, workload: Workload, work: Path) -> Bench:
        folder = work / f"{workload.name}-{workload.rows}"
        data = workload.write(folder)
        workload.bundle(folder)
        files = sorted(data.glob("*.parquet"))
        small = folder / "small"
        if not small.exists():
            small.mkdir()
            for path in files[: len(files) // SMALL]:
                os.link(path, small / path.name)
        return cls(workload, folder)

    @property
    def rows(self) -> dict[str, int]:
        return {"small": self.workload.rows // SMALL, "data": self.workload.rows}

    def run(self, contender: Contender, size: str, setting: Setting) -> dict[str, Any]:
        """The cost of one run; its output is left in ``out``."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = contender.call(self.folder / "bundle", self.folder / size, out, setting)
        measured = subprocess.run(
            [sys.executable, str(HERE / "measure.py"), *command],
            env=contender.environment,
            capture_output=True,
            check=True,
        )
        cost: dict[str, Any] = json.loads(measured.stdout)
        if cost["exit"]:
            raise RuntimeError(f"exit {cost['exit']}: {cost['printed'].strip()[-600:]}")
        return {"size": size, "cpu": cost["cpu"], "wall": cost["wall"], "bytes": cost["bytes"]}

    def check(self, contender: Contender, size: str) -> None:
        """Stop everything when the output of the last run is not the embedding."""
        if not contender.embeds:
            return
        out = self.folder / "out"
        published = out / "current" if (out / "current").exists() else out
        found = subprocess.run(
            [
                sys.executable,
                str(HERE / "agreement.py"),
                str(self.folder / "bundle"),
                str(self.folder / size),
                str(published.resolve()),
            ],
            capture_output=True,
            text=True,
        )
        if found.returncode:
            sys.exit(f"{contender.name} on {self.workload.name}: {found.stderr.strip()[-600:]}")

    def best(self, contender: Contender) -> Setting:
        """The setting with the least CPU on the small table, each tried twice in turns."""
        if len(contender.settings) == 1:
            return contender.settings[0]
        costs: dict[Setting, float] = {}
        for setting in contender.settings * 2:
            cpu = self.run(contender, "small", setting)["cpu"]
            costs[setting] = min(cpu, costs.get(setting, cpu))
        return min(costs, key=lambda setting: costs[setting])


def measure(bench: Bench, chosen: list[Contender], rounds: int) -> dict[str, Any]:
    """Settings, runs and failures of every contender on one workload."""
    found: dict[str, Any] = {}
    failed = {c.name: why for c in chosen if (why := missing(c))}
    racing = [contender for contender in chosen if contender.name not in failed]
    settings: dict[str, Setting] = {}
    for contender in racing:
        try:
            settings[contender.name] = bench.best(contender)
            for size in bench.rows:
                bench.run(contender, size, settings[contender.name])
                bench.check(contender, size)
        except RuntimeError as error:
            _fail(contender, error, failed)
        else:
            found[contender.name] = {
                "setting": settings[contender.name],
                "checksums": contender.checksums,
                "runs": [],
            }
        _say(f"{bench.workload.name}: {contender.name} {failed.get(contender.name, 'agrees')}")
    for index in range(rounds):
        for contender in racing:
            if contender.name in failed:
                continue
            try:
                for size in bench.rows:
                    cost = bench.run(contender, size, settings[contender.name])
                    found[contender.name]["runs"].append({"round": index, **cost})
            except RuntimeError as error:
                _fail(contender, error, failed)
                del found[contender.name]
        _say(f"{bench.workload.name}: round {index + 1} of {rounds}")
    shutil.rmtree(bench.folder / "out", ignore_errors=True)
    shape = asdict(bench.workload)
    return {"shape": shape, "rows": bench.rows, "contenders": found, "missing": failed}


def _fail(contender: Contender, error: RuntimeError, failed: dict[str, str]) -> None:
    """A peer that fails is left out and named; without the others there is nothing to report."""
    if not contender.module:
        sys.exit(f"{contender.name}: {error}")
    failed[contender.name] = str(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure the workloads asked for, and write the report after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], metavar="WORKLOAD")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(n for n in PEERS if n not in ON_REQUEST))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/throughput"))
    given = parser.parse_args()
    names = [] if given.peers == "none" else given.peers.split(",")
    if unknown := set(names) - set(PEERS):
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)} and none")
    peers = [PEERS[name] for name in names]
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "throughput.json"
    results: dict[str, Any] = json.loads(kept.read_bytes()) if kept.exists() else {}
    for name in given.workloads or WORKLOADS:
        asked = WORKLOADS[name]
        workload = replace(asked, rows=int(asked.rows * given.scale))
        bench = Bench.make(workload, given.work.resolve())
        results[name] = measure(bench, [*PARTS, EMBED, *peers], given.rounds)
        results[name]["scale"] = given.scale
        results = {name: results[name] for name in WORKLOADS if name in results}
        kept.write_text(json.dumps(results, indent=1) + "\n")
        write_report(results, given.out)


if __name__ == "__main__":
    main()
