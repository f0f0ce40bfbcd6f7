"""The life of a destination: runs, kills, full disks, rollbacks, damage and cleaning in any order.

After every step a reader must see one complete version, and none may vanish before its time. The
runs are those of `embed`; only their parts are written by a fake, which puts the work's own name
into each file, so that a mix would show.
"""

import errno
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pipeline import Bundle, EmbeddingJob, embed
from pipeline.config import RetentionJob
from pipeline.destinations import open_destination
from pipeline.embedding import ShardPlan
from pipeline.errors import DestinationError, PublishError
from pipeline.pinning import rollback, unpin
from pipeline.publishing import MANIFEST, PartReport, Pointer, not_whole
from pipeline.resolution import resolve
from pipeline.retention import gc
from pipeline.shards import Shard
from pipeline.verification import verify

FILES = 3
CALLS = ("rename", "link", "symlink", "unlink", "mkdir", "rmdir", "fsync")


class Killed(BaseException):
    """The process is gone: nothing of ours runs after it but what frees the lock."""


def fake_parts(function: Any, shards: Sequence[Shard]) -> Iterator[PartReport]:
    plan: ShardPlan = function.args[0]
    for shard in shards:
        name, data = plan.part_name(shard), plan.work(shard).encode()
        scratch = plan.stage.scratch(name)
        scratch.write_bytes(data)
        report = PartReport(
            name=name,
            rows=shard.rows,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            work=plan.work(shard),
            source=shard.file.relative,
            row_groups=shard.row_groups,
        )
        yield plan.stage.finish(scratch, report)


@contextmanager
def failing(at: int | None, fault: BaseException) -> Iterator[None]:
    """Raise `fault` instead of the call number `at` that changes a file system; none if None."""
    count = itertools.count()
    known = {name: getattr(os, name) for name in CALLS}

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == at:
                raise fault
            # Nothing here loses power; the calls to the disk would take all the time.
            return None if name == "fsync" else known[name](*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name))
        yield


at_calls = st.one_of(st.none(), st.integers(0, 50))
faults = st.sampled_from([Killed(), OSError(errno.ENOSPC, "No space left on device")])
graces = st.sampled_from(["0s", "15m"])
keeps = st.integers(1, 2)
indices = st.one_of(st.none(), st.integers(0, FILES - 1))


class Life(RuleBasedStateMachine):
    """One destination and the source of its runs."""

    bundle: Bundle
    files: tuple[bytes, ...]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.source, self.root = self.folder / "source", self.folder / "to"
        self.source.mkdir()
        self.clock = itertools.count(1)
        self.published: dict[str, dict[str, bytes]] = {}
        self.damaged: set[str] = set()
        for index in range(FILES):
            self.write(index)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # What happens.

    @rule(index=st.integers(0, FILES - 1))
    def write(self, index: int) -> None:
        path, stamp = self.source / f"{index}.parquet", next(self.clock)
        path.write_bytes(self.files[stamp % len(self.files)])
        os.utime(path, ns=(stamp, stamp))

    @rule(index=st.integers(1, FILES - 1))
    def vanish(self, index: int) -> None:
        (self.source / f"{index}.parquet").unlink(missing_ok=True)

    @rule(index=indices, at=at_calls, fault=faults, keep=keeps, grace=graces)
    def run(
        self, index: int | None, at: int | None, fault: BaseException, keep: int, grace: str
    ) -> None:
        if index is not None:
            self.write(index)
        job = EmbeddingJob(
            bundle=str(self.bundle.path),
            source=str(self.source),
            destination=str(self.root),
            keep=keep,
            grace=grace,
        )
        before, versions = self.pointer(), self.versions()
        with failing(at, fault):
            report = self.outcome(lambda: embed(job, map_shards=fake_parts))
        after = self.pointer()
        # A damaged version goes when the same work was made again.
        assert after or not before or before.run_id in self.damaged
        if grace == "15m":
            assert versions - self.damaged <= self.versions()
        if report is None:
            return
        assert report.rows == len(list(self.source.iterdir()))
        assert after == Pointer(run_id=report.current, pinned=report.pinned)
        sizes = open_destination(self.root).files(report.run_id)
        assert not not_whole(sizes, open_destination(self.root).manifest(report.run_id))
        assert after == (before if before and before.pinned else Pointer(run_id=report.run_id))
        assert list((self.root / "_stage").glob("*")) == []
        if grace == "0s":
            assert len(self.versions() - {report.current}) <= keep

    @rule(at=at_calls, fault=faults, keep=keeps, grace=graces)
    def clean(self, at: int | None, fault: BaseException, keep: int, grace: str) -> None:
        before, versions = self.pointer(), self.versions()
        with failing(at, fault):
            told = self.outcome(
                lambda: gc(RetentionJob(destination=str(self.root), keep=keep, grace=grace))
            )
        assert self.pointer() == before
        if told is not None:
            gone = {*told.versions, *told.damaged}
            assert self.versions() == versions - gone
            assert grace == "0s" or not gone
            assert list((self.root / "_stage").glob("*")) == []

    @rule(at=at_calls, fault=faults, data=st.data())
    def go_back(self, at: int | None, fault: BaseException, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([None, *sorted(self.versions())]))
        before = self.pointer()
        with failing(at, fault):
            told = self.outcome(lambda: rollback(self.root, run))
        assert self.pointer() or not before
        if told is not None:
            assert self.pointer() == Pointer(run_id=told.run_id, pinned=True)
            assert run in (None, told.run_id)

    @rule(at=at_calls, fault=faults)
    def let_go(self, at: int | None, fault: BaseException) -> None:
        before = self.pointer()
        with failing(at, fault):
            told = self.outcome(lambda: unpin(self.root))
        assert self.pointer() or not before
        if told is not None:
            assert self.pointer() == Pointer(run_id=told.run_id)

    @rule(data=st.data(), cut=st.booleans())
    def damage(self, data: st.DataObject, cut: bool) -> None:
        names = [f"{run_id}/{name}" for run_id in self.versions() for name in self.parts(run_id)]
        if not names:
            return
        path = self.root / "versions" / data.draw(st.sampled_from(sorted(names)))
        content = path.read_bytes()
        path.write_bytes(content[:-1] if cut else bytes([content[0] ^ 1]) + content[1:])
        self.look()
        # Unchanged parts are shared between versions, and so is their damage.
        self.damaged = {run for run in self.versions() if self.parts(run) != self.published[run]}

    # What must hold.

    @invariant()
    def readers_see_one_complete_version(self) -> None:
        self.look()
        for run_id in self.versions():
            parts = self.parts(run_id)
            if run_id in self.damaged and parts == self.published[run_id]:
                self.damaged.remove(run_id)  # a run has made it again
            if run_id not in self.damaged:
                assert parts == self.published[run_id]
                assert {hashlib.sha256(data).hexdigest() for data in parts.values()} == {
                    part.sha256 for part in open_destination(self.root).manifest(run_id).files
                }
        pointer = self.pointer()
        if pointer is not None and pointer.run_id not in self.damaged:
            names = {Path(path).name for path in resolve(self.root).files}
            assert names == set(self.parts(pointer.run_id))

    @invariant()
    def verify_finds_what_is_damaged_and_nothing_else(self) -> None:
        if not self.root.exists() or self.pointer() is None:
            return
        if self.damaged & self.versions():
            with pytest.raises(DestinationError, match="damaged or missing"):
                verify(self.root)
        else:
            verify(self.root)

    # How it is seen.

    def look(self) -> None:
        """Note what every new version holds; it must never change again."""
        for run_id in self.versions():
            self.published.setdefault(run_id, self.parts(run_id))

    def versions(self) -> set[str]:
        return {path.name for path in self.root.glob("versions/*")}

    def parts(self, run_id: str) -> dict[str, bytes]:
        folder = self.root / "versions" / run_id
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}

    def pointer(self) -> Pointer | None:
        if not (self.root / "_parquet2vec.json").exists():
            return None
        return open_destination(self.root).pointer

    def outcome(self, step: Callable[[], Any]) -> Any:
        """What a step answered; None if it failed as it may."""
        try:
            return step()
        except (Killed, PublishError):
            return None


def test_whatever_happens_readers_see_one_complete_version(
    bundle: Bundle, table: pa.Table, tmp_path: Path
) -> None:
    files = []
    for row in range(2):
        pq.write_table(table.slice(row, 1), tmp_path / "row.parquet")
        files.append((tmp_path / "row.parquet").read_bytes())
    life = type("ThisLife", (Life,), {"bundle": bundle, "files": tuple(files)})
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=80,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
