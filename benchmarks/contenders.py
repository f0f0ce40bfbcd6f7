"""Who is measured: the parts of the limit, `parquet2vec embed`, and the other engines.

Every contender has a few settings. They are tried first, and the one that costs the least CPU is
measured. Adding a peer is a script in ``peers/`` and a row in the table at the foot.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parent / ".venv-peers/bin/python"
LIMIT = ("read", "forward", "write")
OURS = "parquet2vec"

Setting = tuple[str, ...]
Checksums = Literal["written and verified", "written", "none"]


@dataclass(frozen=True)
class Contender:
    """A command to measure; `module` is what its interpreter must be able to import."""

    name: str
    command: tuple[str, ...]
    settings: tuple[Setting, ...]
    checksums: Checksums = "written and verified"
    module: str = ""

    @property
    def embeds(self) -> bool:
        """Whether it does the whole job, so that its output can be checked."""
        return self.name not in LIMIT

    def call(self, bundle: Path, source: Path, dest: Path, setting: Setting) -> list[str]:
        """The command line."""
        return [*self.command, str(bundle), str(source), str(dest), *setting]

    @property
    def environment(self) -> dict[str, str]:
        """Ours runs as users run it; a peer finds what it shares with the others."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH",)}
        return inherited | ({"PYTHONPATH": str(HERE / "peers")} if self.module else {})


def missing(contender: Contender) -> str | None:
    """Why a peer cannot be measured here; None if it can."""
    if not contender.module:
        return None
    if not PEER_PYTHON.exists():
        return "not installed (make peers)"
    found = subprocess.run(
        [PEER_PYTHON, "-c", f"import {contender.module}"],
        capture_output=True,
        env=contender.environment,
    )
    return "not installed (make peers)" if found.returncode else None


def _part(name: str, *settings: Setting) -> Contender:
    return Contender(name, (sys.executable, str(HERE / "limit.py"), name), settings)


def _peer(
    name: str, script: str, module: str, *settings: Setting, checksums: Checksums
) -> Contender:
    command = (str(PEER_PYTHON), str(HERE / "peers" / script))
    return Contender(name, command, settings, checksums, module)


_ALL = str(len(os.sched_getaffinity(0)))
# Rows of one call of ONNX Runtime, and threads inside it. An engine that calls the model from
# several threads or processes needs one thread in each; the others leave all cores to the model.
_PARALLEL = (("2048", "1"), ("8192", "1"), ("65536", "1"))
_RUNS = ("256", "512", "1024", "2048", "8192")
_EITHER = (("8192", "1"), ("8192", _ALL), ("65536", _ALL))

PARTS = (
    _part("read", ("16384", "0"), ("65536", "0"), ("65536", "1")),
    _part("forward", *((rows, arena) for rows in _RUNS for arena in ("0", "1"))),
    _part("write", ("snappy", "65536"), ("none", "65536"), ("none", "16384")),
)
EMBED = Contender(OURS, (str(Path(sys.executable).with_name("parquet2vec")), "embed"), ((),))
PEERS = {
    peer.name: peer
    for peer in (
        _peer("pandas", "pandas_script.py", "pandas", *_EITHER, checksums="written and verified"),
        _peer("pandas-defaults", "pandas_defaults.py", "pandas", ("0", "0"), checksums="none"),
        _peer(
            "pyarrow", "pyarrow_loop.py", "pyarrow", *_PARALLEL, checksums="written and verified"
        ),
        _peer("polars", "polars_map.py", "polars", *_EITHER, checksums="none"),
        _peer("daft", "daft_struct.py", "daft", *_PARALLEL, checksums="none"),
        _peer("duckdb", "duckdb_udf.py", "duckdb", ("2048", "1"), checksums="none"),
        _peer("dask", "dask_map.py", "dask.dataframe", *_PARALLEL, checksums="written"),
        _peer("ray", "ray_data.py", "ray.data", *_PARALLEL[1:], checksums="none"),
        _peer("spark", "spark_map.py", "pyspark", *_PARALLEL[1:], checksums="written and verified"),
    )
}
ON_REQUEST = ("dask", "ray", "spark")
