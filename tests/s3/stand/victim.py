"""Commands in processes of their own, killed at a numbered request to the store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from pipeline import objects
from pipeline.config import EmbeddingJob
from pipeline.errors import Parquet2VecError
from pipeline.job import embed

When = Literal["before", "after"]
KILLED = -signal.SIGKILL

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pipeline.job", "obstore.store"])


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, what it said, and how many requests it made."""

    code: int
    said: str
    requests: int


@dataclass
class Running:
    """A run on its way."""

    process: Any
    answers: Connection

    def wait(self, *, kill_after: float | None = None) -> Ended:
        """How it ended; SIGKILL after so many seconds."""
        self.process.join(kill_after)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(60)
        try:
            said, requests = self.answers.recv()
        except EOFError:
            said, requests = "", 0
        return Ended(self.process.exitcode, said, requests)


def start(job: EmbeddingJob, *, at: int = 0, when: When = "before") -> Running:
    """Begin to embed; SIGKILL before or after the request number `at`, from 1."""
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    process = _PROCESSES.Process(
        target=_run, args=(job.model_dump_json(), settings, at, when, sender), daemon=True
    )
    process.start()
    sender.close()
    return Running(process, receiver)


def run(job: EmbeddingJob, *, at: int = 0, when: When = "before") -> Ended:
    """How an embedding ended."""
    return start(job, at=at, when=when).wait()


def _run(job: str, settings: dict[str, str], at: int, when: When, answers: Connection) -> None:
    os.environ.update(settings)
    counted = _count(at, when)
    try:
        report = embed(EmbeddingJob.model_validate_json(job))
    except Parquet2VecError as error:
        answers.send((f"{type(error).__name__}: {error}", counted()))
        os._exit(error.exit_code)
    answers.send((report.model_dump_json(), counted()))
    answers.close()
    os._exit(0)


def _count(at: int, when: When) -> Callable[[], int]:
    """Number the requests, and die at the one that is meant."""
    ask, lock, count = objects._request, threading.Lock(), 0

    def request(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        with lock:
            count += 1
            number = count
        if number == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return ask(*arguments, **options)
        finally:
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)

    objects._request = request
    return lambda: count
