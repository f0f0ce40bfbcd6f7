"""Where the CPU of an embedding goes: reading, checks, look-ups, blocks, network, writing, hashing.

Usage: python benchmarks/stages.py [WORKLOAD ...] [--scale 1.0] [--out docs/benchmarks]
                                   [--work build/throughput]

Runs the job in processes of their own with a clock around its steps, each charged with the CPU of
its thread less that of the steps inside it. Writes stages.md. The clock costs a little itself;
`throughput.py` is what measures costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

STAGES = ("read", "check values", "look up strings", "fill blocks", "network", "write", "hash")
HEAD = """\
# Where the CPU of an embedding goes

CPU seconds per million rows in each step of `parquet2vec embed`, start-up apart. Written by
`python benchmarks/stages.py{how}`; what the steps cost alone is in
[throughput.md](throughput.md).

"""


class Clock:
    """CPU seconds of threads by stage.

    A stage inside another one is charged to itself only, unless the outer one is charged whole.
    """

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inside = threading.local()

    def wrap(self, owner: Any, name: str, stage: str, *, whole: bool = False) -> None:
        """Charge every call of ``owner.name`` to `stage`, with all stages in it if `whole`."""
        timed: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self.charge(stage, lambda: timed(*arguments, **named), whole=whole)

        setattr(owner, name, call)

    def wrap_iterator(self, owner: Any, name: str, stage: str) -> None:
        """Charge every step of the iterator that ``owner.name`` returns to `stage`."""
        timed: Callable[..., Iterator[Any]] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Iterator[Any]:
            items = timed(*arguments, **named)
            while (item := self.charge(stage, lambda: next(items, None))) is not None:
                yield item

        setattr(owner, name, call)

    def charge(self, stage: str, function: Callable[[], Any], *, whole: bool = False) -> Any:
        """`function()`, its CPU seconds charged to `stage`."""
        if getattr(self._inside, "whole", False):
            return function()
        outer = getattr(self._inside, "seconds", 0.0)
        self._inside.seconds, self._inside.whole = 0.0, whole
        started = time.thread_time()
        try:
            return function()
        finally:
            spent = time.thread_time() - started
            self.spent[stage] += spent - self._inside.seconds
            self._inside.seconds, self._inside.whole = outer + spent, False


def timed(bundle: str, source: str, dest: str) -> dict[str, float]:
    """CPU seconds per million rows of every stage of one job in this process."""
    from pipeline import EmbeddingJob, embed, embedding, encoder, shards, storage
    from pipeline.parts import PartWriter
    from pipeline.runtime import Session

    clock = Clock()
    clock.wrap_iterator(embedding, "read_batches", "read")
    clock.wrap(shards, "find_problem", "check values")
    clock.wrap(encoder.Encoder, "_codes", "look up strings", whole=True)
    clock.wrap(encoder, "_tile", "fill blocks")
    clock.wrap(encoder, "to_input", "fill blocks")
    clock.wrap(Session, "run", "network")
    for step in ("write", "close"):
        clock.wrap(PartWriter, step, "write")
    clock.wrap(embedding, "part_batch", "write")
    clock.wrap(storage, "sha256_of", "hash")
    report = embed(EmbeddingJob(bundle=bundle, source=source, destination=dest))
    return {stage: clock.spent[stage] / report.rows * 1e6 for stage in STAGES}


def main() -> None:
    """Measure the workloads asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], metavar="WORKLOAD")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/throughput"))
    given = parser.parse_args()
    lines = [_row(["workload", *STAGES, "sum"]), _row(["---"] * (len(STAGES) + 2))]
    for name in given.workloads or WORKLOADS:
        workload = replace(WORKLOADS[name], rows=int(WORKLOADS[name].rows * given.scale))
        folder = (given.work / f"{name}-{workload.rows}").resolve()
        data = workload.write(folder)
        bundle = workload.bundle(folder).path
        shutil.rmtree(folder / "out", ignore_errors=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(bundle), str(data), str(folder / "out")],
            env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # as the command line has it
            capture_output=True,
            check=True,
        )
        shutil.rmtree(folder / "out")
        spent: dict[str, float] = json.loads(done.stdout)
        cells = [f"{spent[stage]:.3f}" for stage in STAGES]
        lines.append(_row([name, *cells, f"{sum(spent.values()):.2f}"]))
    how = f" --scale {given.scale:g}" if given.scale != 1.0 else ""
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "stages.md").write_text(HEAD.format(how=how) + "\n".join(lines) + "\n")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(timed(*sys.argv[2:])))
    else:
        main()
