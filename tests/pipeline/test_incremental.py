"""Runs over what earlier runs left: what is taken over, what never is, and what damage does."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, JobReport, embed, gc, rollback, unpin, verify
from pipeline.config import RetentionJob
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError, PublishError
from pipeline.publishing import MANIFEST, PartReport, Pointer
from pipeline.shards import Shard
from pipeline.version_making import MapShards, ShardFunction

Run = Callable[..., JobReport]


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to"


@pytest.fixture
def run(bundle: Bundle, source: Path, to: Path) -> Run:
    """Embeds `source`: `run(bundle=, map_shards=, keep=)`."""

    def embedded(
        *, map_shards: MapShards | None = None, bundle: Bundle = bundle, **options: object
    ) -> JobReport:
        known = {"bundle": str(bundle.path), "source": str(source), "destination": str(to)}
        job = EmbeddingJob.model_validate(known | options)
        return embed(job, map_shards=map_shards)

    return embedded


def add_file(source: Path, make_table: Callable[..., pa.Table], name: str = "day-3") -> None:
    pq.write_table(make_table(100, seed=9), source / f"{name}.parquet")


def current(to: Path) -> Path:
    return (to / "current").resolve()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def test_unchanged_parts_are_the_same_files_under_new_names(
    run: Run, source: Path, to: Path, make_table: Callable[..., pa.Table]
) -> None:
    run()
    before = {path.stat().st_ino for path in current(to).glob("part-*")}
    names = {path.name for path in current(to).glob("part-*")}
    add_file(source, make_table)
    run()
    after = list(current(to).glob("part-*"))
    assert before < {path.stat().st_ino for path in after}
    assert not names & {path.name for path in after}


def test_a_changed_file_is_computed_again_and_the_others_are_not(
    run: Run, source: Path, to: Path, make_table: Callable[..., pa.Table]
) -> None:
    run()
    add_file(source, make_table, "day-1")
    report = run()
    assert (report.reused, report.computed, report.rows) == (2, 1, 2_100)
    assert pq.read_table(to / "current").num_rows == 2_100


def test_a_damaged_part_is_never_taken_over(
    run: Run, source: Path, to: Path, make_table: Callable[..., pa.Table]
) -> None:
    run()
    flip(next(current(to).glob("part-00001*")))
    add_file(source, make_table)
    report = run(keep=1, grace="0s")
    assert (report.reused, report.computed) == (2, 2)
    assert verify(to).files == 4


def test_two_models_are_never_mixed_in_one_version(
    run: Run, bundle: Bundle, tmp_path: Path, source: Path, to: Path
) -> None:
    other = Bundle.write(
        tmp_path / "other",
        manifest=bundle.manifest.model_copy(update={"recipe": "other"}),
        files={name: bundle.read(name) for name in bundle.manifest.files},
    )
    run()
    report = run(bundle=other)
    assert (report.reused, report.computed) == (0, 3)
    for manifest in open_destination(to).published():
        folder = to / "versions" / manifest.run_id
        named = {pq.read_schema(path).metadata[b"parquet2vec"] for path in folder.glob("part-*")}
        assert [manifest.model.encode() in text for text in named] == [True]


def test_a_worker_that_made_other_work_is_refused(run: Run, to: Path) -> None:
    def other(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        return [function(shard).model_copy(update={"work": "other"}) for shard in shards]

    with pytest.raises(PublishError, match=r"must make part-00000.*found other work"):
        run(map_shards=other)
    assert not (to / "current").exists()


def test_workers_that_lose_parts_are_refused(run: Run, to: Path) -> None:
    def forgetful(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        return [function(shard) for shard in shards[1:]]

    with pytest.raises(PublishError, match="3 parts must be finished, found 2"):
        run(map_shards=forgetful)
    assert not (to / "current").exists()


@pytest.mark.parametrize("damage", ["manifest", "no manifest", "cut", "missing"])
def test_a_damaged_current_version_is_made_again(run: Run, to: Path, damage: str) -> None:
    run()
    folder = current(to)
    part = next(folder.glob("part-00001*"))
    {
        "manifest": lambda: (folder / MANIFEST).write_text("{"),
        "no manifest": (folder / MANIFEST).unlink,
        "cut": lambda: part.write_bytes(part.read_bytes()[:-1]),
        "missing": part.unlink,
    }[damage]()
    report = run()
    assert report.published
    assert verify(to).files == 3
    assert [path.name for path in (to / "_stage").iterdir()] == []


def test_a_damaged_version_stops_no_run_and_gc_deletes_it(
    run: Run, source: Path, to: Path, make_table: Callable[..., pa.Table]
) -> None:
    first = run()
    (current(to) / MANIFEST).write_text("{")
    add_file(source, make_table)
    assert run().computed == 4
    with pytest.raises(DestinationError, match="missing or damaged"):
        verify(to)
    told = gc(RetentionJob(destination=str(to), grace="0s"))
    assert told.damaged == (first.run_id,)
    assert verify(to).versions == 1


def test_a_pinned_destination_is_told_of(
    run: Run, source: Path, to: Path, make_table: Callable[..., pa.Table]
) -> None:
    first = run()
    add_file(source, make_table, "day-3")
    run()
    rollback(to)
    add_file(source, make_table, "day-4")
    third = run()
    assert third.published and third.pinned
    assert third.current == first.run_id
    # From the newest version, not from the old one that readers are pinned to.
    assert (third.reused, third.computed) == (4, 1)
    unpin(to)
    assert open_destination(to).pointer == Pointer(run_id=third.run_id)


def test_an_old_version_whose_time_is_over_is_told_of(
    run: Run, source: Path, make_table: Callable[..., pa.Table]
) -> None:
    first = run(keep=1)
    add_file(source, make_table)
    assert run(keep=1).removed == ()
    assert run(keep=1, grace="0s").removed == (first.run_id,)


def test_what_cannot_be_deleted_does_not_hide_what_was_published(
    run: Run, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(PublishError, match=r"are published in .*Permission denied.*gc"):
        run()
    assert pq.read_table(to / "current").num_rows == 3_000


def test_a_destination_that_cannot_be_written_is_told_before_any_work(
    run: Run, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unused(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        raise AssertionError("nothing may be computed")

    monkeypatch.setattr("os.access", lambda path, _: Path(path).name != "versions")
    with pytest.raises(PublishError, match=r"cannot write to .*versions: no permission"):
        run(map_shards=unused)
