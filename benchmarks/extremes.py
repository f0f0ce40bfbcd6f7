"""Models at the far ends: 2,000 number columns, and a category of a million distinct values.

Usage: python benchmarks/extremes.py [--out docs/benchmarks] [--work build/extremes]

Fits the preprocessing, writes the bundle, opens it as every job does, and embeds a table with it,
each in a process of its own. Writes extremes.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contenders import EMBED
from workloads import Workload

from pipeline.bundle import Bundle

HERE = Path(__file__).parent
CASES = (
    Workload("2,000 number columns", 40_000, 2_000, (64, 16), null_share=0.02, files=2),
    Workload(
        "one category of 1,000,000 values",
        4_000_000,
        1,
        (64, 16),
        cardinalities=(1_000_000,),
        sample=4_000_000,
        files=2,
    ),
)
_OPEN = """
import resource, sys, time
from pipeline import Encoder
started = time.perf_counter()
Encoder.open(sys.argv[1])
print(time.perf_counter() - started)
"""
HEAD = """\
# Models at the far ends

Written by `python benchmarks/extremes.py`. *Open* is the time from a path to an encoder that is
ready, every hash checked; *fit* includes writing the bundle. At most 65,536 values of a category
are listed in a model; the others share the code of unknown ones.

"""
COLUMNS = (
    "table",
    "rows fitted",
    "fit, CPU s",
    "encoder.onnx",
    "core.onnx",
    "lookup.onnx",
    "open, s",
    "rows embedded",
    "embed, CPU s",
    "peak RSS",
)


def main() -> None:
    """Measure both cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/extremes"))
    given = parser.parse_args()
    lines = [_line(case, (given.work / str(place)).resolve()) for place, case in enumerate(CASES)]
    given.out.mkdir(parents=True, exist_ok=True)
    table = [_row(COLUMNS), _row(["---"] * len(COLUMNS)), *lines]
    (given.out / "extremes.md").write_text(HEAD + "\n".join(table) + "\n")


def _line(case: Workload, folder: Path) -> str:
    data = case.write(folder)
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    fit = _measured(sys.executable, "-c", _FIT, str(HERE), str(CASES.index(case)), str(folder))
    bundle = Bundle.open(folder / "bundle")
    opened = float(_measured(sys.executable, "-c", _OPEN, str(bundle.path))["printed"])
    shutil.rmtree(folder / "out", ignore_errors=True)
    embedded = _measured(*EMBED.call(bundle.path, data, folder / "out", ()))
    sizes = {name: record.bytes / 2**20 for name, record in bundle.manifest.files.items()}
    cells = [
        case.name,
        f"{case.sample:,}",
        f"{fit['cpu']:.1f}",
        *(f"{sizes[n]:.2f} MiB" if n in sizes else "" for n in _MODELS),
        f"{opened:.3f}",
        f"{case.rows:,}",
        f"{embedded['cpu']:.1f}",
        f"{embedded['bytes'] / 1e6:.0f} MB",
    ]
    return _row(cells)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


_MODELS = ("encoder.onnx", "core.onnx", "lookup.onnx")
_FIT = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from extremes import CASES
CASES[int(sys.argv[2])].bundle(Path(sys.argv[3]))
"""


def _measured(*command: str) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), *command],
        capture_output=True,
        check=True,
    )
    cost: dict[str, Any] = json.loads(found.stdout)
    if cost["exit"]:
        sys.exit(cost["printed"][-800:])
    return cost


if __name__ == "__main__":
    main()
