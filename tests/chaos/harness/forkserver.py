"""A process that imports the product once and forks a child for each command it is given.

Run as a script with the shim preloaded. Reads one JSON request a line, answers with one line:

    {"start": {"argv": […], "plan": […] | null, "roots": […], "folder": …}}  ->  {"pid": …}
    {"wait": pid, "kill_after": seconds | null}                              ->  {"status": …, …}

Nothing of the product has run in this process and it has one thread, so a child is as good as a
fresh process and starts in a millisecond.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMPORTS = (
    "flows.cli",
    "flows.texts",
    "flows.progress",
    "pipeline.job",
    "pipeline.monitoring",
    "pipeline.verification",
)
GIVE_UP_SECONDS = 120.0


def main() -> None:
    """Serve until standard input ends."""
    shim = ctypes.CDLL(os.environ["CHAOS_SHIM"])
    # Children of the product, if it starts any, are not to be touched.
    os.environ.pop("LD_PRELOAD", None)
    for name in [*IMPORTS, *sys.argv[1:]]:
        importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"forking needs a single thread, found {threads}")
    gc.collect()
    gc.freeze()
    answer({"ready": True})
    started: dict[int, float] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                run_child(shim, request["start"])
            started[pid] = time.monotonic()
            answer({"pid": pid})
        else:
            pid = request["wait"]
            answer(wait(pid, started.pop(pid), request["kill_after"]))


def answer(document: dict[str, Any]) -> None:
    """Give one line to the tests."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def wait(pid: int, started: float, kill_after: float | None) -> dict[str, Any]:
    """How the child ended: its exit code, or minus the signal that killed it."""
    watch = os.pidfd_open(pid)
    try:
        seconds = GIVE_UP_SECONDS if kill_after is None else kill_after
        left = max(0.0, started + seconds - time.monotonic())
        if not select.select([watch], [], [], left)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(watch)
    _, status = os.waitpid(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - started,
        "gave_up": kill_after is None and time.monotonic() - started >= GIVE_UP_SECONDS,
    }


def run_child(shim: ctypes.CDLL, order: dict[str, Any]) -> None:
    """Become the command `order["argv"]`; never returns."""
    code = 70
    try:
        folder = Path(order["folder"])
        redirect(0, Path(os.devnull), os.O_RDONLY)
        redirect(1, folder / "out")
        redirect(2, folder / "err")
        log = opened(folder / "log") if order["log"] else -1
        hit = opened(folder / "hit")
        if order["limits"]:
            limit(order["limits"])
        if order["plan"] is not None:
            mode, mask, at, error = order["plan"]
            roots = ":".join(order["roots"]).encode()
            shim.chaos_arm(roots, mode, mask, ctypes.c_long(at), error, log, hit)
        code = command(order["argv"])
        calls = shim.chaos_calls() if order["plan"] is not None else 0
        (folder / "calls").write_text(str(calls))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(argv: list[str]) -> int:
    """Exit code of the command line with `argv`, or of the function that `module:name` names."""
    module, colon, name = argv[0].partition(":")
    if colon:
        return call(getattr(importlib.import_module(module), name), argv[1:])
    from flows.cli import app

    try:
        app(argv, prog_name="parquet2vec")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def call(function: Callable[..., None], words: list[str]) -> int:
    """Exit code of a function, told as the command line tells its errors."""
    from pipeline.errors import Parquet2VecError

    try:
        function(*words)
    except Parquet2VecError as error:
        print(f"parquet2vec: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def limit(limits: dict[str, int]) -> None:
    """Bound the address space to `memory` bytes, and give up root for `user`."""
    import resource

    if "memory" in limits:
        resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    if "user" in limits:
        os.setgroups([])
        os.setgid(limits["user"])
        os.setuid(limits["user"])


def opened(path: Path) -> int:
    """A descriptor of a new file."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)


def redirect(to: int, path: Path, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> None:
    """Make the descriptor `to` lead to `path`."""
    file = os.open(path, flags, 0o666)
    os.dup2(file, to)
    os.close(file)


if __name__ == "__main__":
    main()
