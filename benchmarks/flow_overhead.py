"""What Prefect costs on top: `parquet2vec flow embed` beside `parquet2vec embed`.

Usage: python benchmarks/flow_overhead.py [--rounds 5] [--out docs/benchmarks]
                                          [--work build/flow_overhead]

Both commands embed the same small table, in turn, each time to a new destination. The flow talks to
one Prefect server on this machine, started before and warmed by a run that is not counted. CPU
seconds are those of the command's process and its children, imports included, and not those of the
server, which are told beside them. Then the shards of a large table are put into batches: how many
task runs they would be. Writes flow-overhead.md and flow-overhead.json. About two CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import URLError

from workloads import Workload

from flows.batches import MAX_BATCHES, in_batches

HERE = Path(__file__).parent
COMMAND = str(Path(sys.executable).with_name("parquet2vec"))
TABLE = Workload("small", 20_000, 20, (64, 16), null_share=0.1, cardinalities=(20,), files=4)
ALLOWED = 6.0
SHARDS, ALLOWED_TASK_RUNS = 10_000, 300
PATIENCE, IDLE_LOAD = 300.0, 2.0
PAGE = """\
# What Prefect costs on top

`parquet2vec flow embed` costs **{more[median]:.1f} CPU seconds more** than `parquet2vec embed`:
median of {count} rounds, from {more[least]:.1f} to {more[most]:.1f}; {allowed:.0f} are allowed.
Imports are included. Both embed the same {table.rows:,} rows in {table.files} files, on one thread,
to a new destination each time; the flow talks to a warm server on the same machine. Written by
`python benchmarks/flow_overhead.py`.

| command | CPU s | wall s | peak MB |
| --- | --- | --- | --- |
{costs}

The server itself uses {server:.1f} CPU seconds meanwhile.{busy}

A table of {shards:,} shards is {task_runs} task runs; fewer than {promised} are promised.
"""
ROW = "| `{name}` | {cpu:.2f} | {wall:.1f} | {megabytes:.0f} |"
BUSY = (
    " The machine was busy with other work (load {load:.0f} on {cores} cores): wall seconds mean"
    " little, and CPU seconds are higher than on an idle one."
)


@dataclass(frozen=True)
class Server:
    """A Prefect server of this benchmark's own."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def api(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def cpu(self) -> float:
        """CPU seconds that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=30) as reply:
                return bool(reply.status == 200)
        except URLError:
            return False


@contextmanager
def prefect_server(home: Path) -> Iterator[Server]:
    """A server that lasts for the measurement."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    env = environment() | {"PREFECT_HOME": str(home)}
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL) as process:
        server, deadline = Server(process, port), time.monotonic() + PATIENCE
        try:
            while not server.answers():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("the Prefect server does not start")
                time.sleep(1)
            yield server
        finally:
            process.terminate()


def environment() -> dict[str, str]:
    """Ours, without what would make Prefect talk to another server or call home."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PYTHON"))}
    return kept | {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def measured(words: list[str], env: dict[str, str]) -> dict[str, float]:
    """CPU and wall seconds of a command, and its peak memory.

    Raises:
        RuntimeError: if it fails, with the end of what it printed.
    """
    found = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), *words], env=env, capture_output=True, check=True
    )
    cost: dict[str, Any] = json.loads(found.stdout)
    if cost["exit"]:
        raise RuntimeError(cost["printed"])
    return {"cpu": cost["cpu"], "wall": cost["wall"], "megabytes": cost["bytes"] / 1e6}


def rounds(server: Server, work: Path, count: int) -> Iterator[dict[str, Any]]:
    """Costs of both commands in `count` rounds, after one that is not counted."""
    source, bundle = TABLE.write(work).absolute(), TABLE.bundle(work).path.absolute()
    env = environment() | {"PREFECT_API_URL": server.api, "PREFECT_HOME": str(work / "client")}
    for number in range(count + 1):
        places = {name: (work / f"{name}-{number}").absolute() for name in ("embed", "flow")}
        project = work / "parquet2vec.toml"
        project.write_text(
            f'[embed]\nbundle = "{bundle}"\nsource = "{source}"\n'
            f'destination = "{places["flow"]}"\nthreads = 1\n'
        )
        plain = [COMMAND, "embed", str(bundle), str(source), str(places["embed"]), "--threads", "1"]
        found: dict[str, Any] = {"embed": measured(plain, env)}
        before = server.cpu
        found["flow embed"] = measured([COMMAND, "flow", "embed", str(project)], env)
        found["server"] = {"cpu": server.cpu - before}
        for place in places.values():
            shutil.rmtree(place)
        if number:
            yield found


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and by how much the flow costs more, round by round."""
    more = [one["flow embed"]["cpu"] - one["embed"]["cpu"] for one in found]
    medians = {
        name: {cost: median(one[name][cost] for one in found) for cost in found[0][name]}
        for name in ("embed", "flow embed")
    }
    return {
        "count": len(found),
        **medians,
        "server": median(one["server"]["cpu"] for one in found),
        "more": {"median": median(more), "least": min(more), "most": max(more)},
        "allowed": ALLOWED,
        "shards": SHARDS,
        "task_runs": len(in_batches(range(SHARDS), at_most=MAX_BATCHES)),
        "load": os.getloadavg()[1],
        "rounds": found,
    }


def markdown(told: dict[str, Any]) -> str:
    """The page."""
    busy = BUSY.format(**told, cores=os.cpu_count()) if told["load"] > IDLE_LOAD else ""
    rows = [ROW.format(name=name, **told[name]) for name in ("embed", "flow embed")]
    return PAGE.format(
        **told, table=TABLE, promised=ALLOWED_TASK_RUNS, costs="\n".join(rows), busy=busy
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--work", type=Path, default=Path("build/flow_overhead"))
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    work = given.work.absolute()
    with prefect_server(work / "server") as server:
        told = summary(list(rounds(server, work, given.rounds)))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "flow-overhead.json").write_text(json.dumps(told, indent=1) + "\n")
    (given.out / "flow-overhead.md").write_text(markdown(told))
    print(markdown(told))


if __name__ == "__main__":
    main()
