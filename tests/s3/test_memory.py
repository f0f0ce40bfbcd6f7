"""A large table in a store is read and written within the bound that was asked for."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from stand.world import Place, hashes
from workloads import Workload

from pipeline import EmbeddingJob, embed, objects
from pipeline.locations import S3Location

LARGE = Workload(
    "large", 1_250_000, 20, (32, 16), double=True, sample=3_000, files=1, rows_per_group=250_000
)
MEMORY = 450

PROGRAM = """
import sys
from pathlib import Path
from flows.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text().splitlines()
    print(*[line.split()[1] for line in status if line.startswith("VmHWM")], file=sys.stderr)
"""


@pytest.mark.slow
def test_a_file_of_240_megabytes_within_the_bound(
    place: Place, tmp_path: Path, figure: Callable[[object], None]
) -> None:
    to, table = place(), S3Location("lake", f"large-{uuid.uuid4().hex}")
    bundle, source = LARGE.bundle(tmp_path).path, LARGE.write(tmp_path)
    for path in source.iterdir():
        assert path.stat().st_size > 200e6
        assert objects.upload(path, table.join(path.name), {})
    words = ["embed", str(bundle), str(table), to, "--memory", f"{MEMORY}MB", "--threads", "2"]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    peak = int(ended.stderr.split()[-1]) / 1000
    assert peak < MEMORY, peak
    figure(f"{peak:.0f} MB resident of {MEMORY} MB allowed")
    known = {"bundle": str(bundle), "source": str(source), "destination": str(tmp_path / "disk")}
    embed(EmbeddingJob.model_validate(known))
    assert hashes(to) == hashes(tmp_path / "disk")
    objects.delete([facts.location for facts in objects.listed(table)])
