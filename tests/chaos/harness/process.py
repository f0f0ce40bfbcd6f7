"""The tests' side of the fork server: commands that are watched, broken or killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import tree
from harness.shim import Kind, Plan

SERVER = Path(__file__).with_name("forkserver.py")
KILLED = -9


@dataclass(frozen=True, repr=False)
class Ended:
    """How a command ended. `hit` is the call that was met: its kind and its path.

    `code` is minus the signal's number where one killed it; `calls` counts the calls of the plan's
    kinds, and is known where the command ended by itself.
    """

    argv: tuple[str, ...]
    code: int
    seconds: float
    out: str
    err: str
    calls: int
    hit: tuple[Kind, str] | None
    log: bytes

    def __repr__(self) -> str:
        met = f", met {self.hit[0].name} {self.hit[1]}" if self.hit else ""
        return f"exit code {self.code}{met}, said: {self.err.strip()[-2000:]}"


def raw(told: tree.Tree, name: str) -> bytes:
    """What a child left in the file `name`; nothing where it was killed before."""
    found = told.get(name, b"")
    assert isinstance(found, bytes)
    return found


def text(told: tree.Tree, name: str) -> str:
    """The same as text, without its last line end."""
    return raw(told, name).decode(errors="replace").removesuffix("\n")


@dataclass
class Running:
    """A command on its way."""

    processes: Processes
    pid: int
    argv: tuple[str, ...]
    folder: Path

    def wait(self, *, kill_after: float | None = None) -> Ended:
        """How it ended; SIGKILL `kill_after` seconds after its start."""
        found = self.processes.ask({"wait": self.pid, "kill_after": kill_after})
        if found["gave_up"]:
            raise TimeoutError(f"{' '.join(self.argv)} hung; see {self.folder}")
        told = tree.load(self.folder)
        shutil.rmtree(self.folder)
        kind, _, path = text(told, "hit").partition("\t")
        return Ended(
            argv=self.argv,
            code=found["code"],
            seconds=found["seconds"],
            out=text(told, "out"),
            err=text(told, "err"),
            calls=int(text(told, "calls") or 0),
            hit=(Kind(int(kind)), path) if kind else None,
            log=raw(told, "log"),
        )


def path_of_imports() -> list[Path]:
    """Where children find `harness`, after what the environment says."""
    given = [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return [*given, SERVER.parents[1], SERVER.parents[3] / "benchmarks"]


@dataclass
class Processes:
    """A fork server, and the children it has started."""

    shim: Path
    scratch: Path
    imports: tuple[str, ...] = ()
    server: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, str(SERVER), *self.imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "LD_PRELOAD": str(self.shim),
                "CHAOS_SHIM": str(self.shim),
                "ARROW_DEFAULT_MEMORY_POOL": "system",
                "JE_ARROW_MALLOC_CONF": "background_thread:false",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "COLUMNS": "400",
                "PYTHONPATH": os.pathsep.join(map(str, path_of_imports())),
            },
        )
        self._answer()

    def start(
        self,
        *argv: object,
        roots: Sequence[Path] = (),
        plan: Plan | None = None,
        log: bool = False,
        limits: dict[str, int] | None = None,
    ) -> Running:
        """Start a command; with a `plan`, calls below `roots` are counted and met."""
        words = tuple(map(str, argv))
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        folder.chmod(0o777)
        told = None if plan is None else [int(plan.mode), int(plan.mask), plan.at, plan.error]
        order = {
            "argv": words,
            "plan": told,
            "roots": [str(root) for root in roots],
            "folder": str(folder),
            "log": log,
            "limits": limits or {},
        }
        return Running(self, self.ask({"start": order})["pid"], words, folder)

    def run(self, *argv: object, **options: Any) -> Ended:
        """Start a command and wait for its end."""
        return self.start(*argv, **options).wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer."""
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with {self.server.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the server."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait(timeout=60)
