"""A destination on local disk: parts of a few bytes, and whatever can happen to them."""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.config import RetentionJob
from pipeline.destinations import open_destination
from pipeline.disk_destination import DiskDestination
from pipeline.disk_stage import DiskStage
from pipeline.errors import DestinationError, LockedError, PublishError
from pipeline.lineage import who
from pipeline.pinning import rollback, unpin
from pipeline.publishing import FORMAT, MANIFEST, PartReport, Pointer, Stage, VersionManifest
from pipeline.resolution import resolve
from pipeline.retention import gc, keep_last
from pipeline.verification import verify

Publish = Callable[..., str]


def finish(stage: Stage, index: int, content: str, *, run_id: str) -> PartReport:
    """A part of text, written as a worker does."""
    data = content.encode()
    report = PartReport(
        name=f"part-{index:05d}-{run_id[:8]}.parquet",
        rows=1,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        work=content,
        source=f"{index}.parquet",
        row_groups=(0,),
    )
    scratch = stage.scratch(report.name)
    scratch.write_bytes(data)
    return stage.finish(scratch, report)


def manifest_of(run_id: str, parts: list[PartReport]) -> VersionManifest:
    return VersionManifest(
        format=FORMAT,
        run_id=run_id,
        model="model",
        rows=len(parts),
        options={},
        source="source",
        inputs=(),
        files=tuple(parts),
        versions={},
        published=datetime.now(UTC).isoformat(timespec="microseconds"),
    )


def commit(destination: DiskDestination, run_id: str, contents: list[str]) -> None:
    stage = destination.stage(run_id)
    parts = [finish(stage, i, content, run_id=run_id) for i, content in enumerate(contents)]
    destination.commit(stage, manifest_of(run_id, parts))


@pytest.fixture
def destination(tmp_path: Path) -> DiskDestination:
    return DiskDestination.open(tmp_path / "to", create=True)


@pytest.fixture
def publish(destination: DiskDestination) -> Publish:
    """Publishes a version of three parts and moves the pointer, as a run does."""

    def published(run_id: str) -> str:
        commit(destination, run_id, [f"{run_id}-{i}" for i in range(3)])
        pointer = destination.pointer
        if pointer is None or not pointer.pinned:
            destination.point(Pointer(run_id=run_id))
        destination.sweep()
        return run_id

    return published


def read(destination: DiskDestination) -> list[str]:
    """What a reader of `current` gets."""
    folder = Path(destination.path) / "current"
    return [path.read_text() for path in sorted(folder.glob("part-*"))]


def longer_ago(destination: DiskDestination, run_id: str, minutes: float) -> None:
    """Let `run_id` have been left `minutes` earlier than it was."""
    path = Path(destination.path) / "_moves.json"
    moves = json.loads(path.read_bytes())
    place = max(number for number, move in enumerate(moves) if move["version"] == run_id)
    after = moves[place + 1]
    left = datetime.fromisoformat(after["at"]) - timedelta(minutes=minutes)
    after["at"] = left.isoformat()
    path.write_text(json.dumps(moves))


# ---------------------------------------------------------------------------- retention


def test_a_version_stays_until_its_readers_have_had_their_time(
    destination: DiskDestination, publish: Publish
) -> None:
    for run_id in ("a", "b", "c"):
        publish(run_id)
    assert keep_last(destination, 1, grace="15m") == []
    longer_ago(destination, "a", minutes=16)
    assert keep_last(destination, 1, grace="15m") == ["a"]
    assert destination.run_ids() == ["b", "c"]


def test_the_time_counts_from_the_move_and_not_from_the_publication(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    commit(destination, "b", ["b"])  # and here the run is killed, for an hour
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    manifest = Path(destination.part("b", MANIFEST))
    old = destination.manifest("b").model_copy(update={"published": long_ago.isoformat()})
    manifest.write_text(old.model_dump_json())
    assert read(destination) == ["a-0", "a-1", "a-2"]
    destination.point(Pointer(run_id="b"))
    assert keep_last(destination, 1, grace="15m") == []


def test_a_version_that_was_left_twice_counts_from_the_last_time(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    publish("b")
    longer_ago(destination, "a", minutes=60)
    destination.point(Pointer(run_id="a"))
    destination.point(Pointer(run_id="b"))
    assert keep_last(destination, 1, grace="15m") == []


class _Killed(BaseException):
    pass


def test_a_kill_right_after_the_move_forgets_no_time(
    destination: DiskDestination, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("a")
    publish("b")
    longer_ago(destination, "a", minutes=60)
    commit(destination, "c", ["c"])
    moved = storage.point

    def dies(link: Path, target: str) -> None:
        moved(link, target)
        raise _Killed

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(storage, "point", dies)
        destination.point(Pointer(run_id="c"))
    assert keep_last(destination, 1, grace="15m") == ["a"]
    assert destination.superseded("b") <= datetime.now(UTC)
    assert destination.run_ids() == ["b", "c"]


def test_who_moved_the_pointer_when_and_why_is_kept(
    destination: DiskDestination, publish: Publish
) -> None:
    for run_id in ("a", "b"):
        publish(run_id)
    rollback(destination.path)
    publish("c")
    unpin(destination.path)
    moves = destination.history()
    assert [(move.version, move.pinned, move.why) for move in moves] == [
        ("c", False, "unpinned"),
        ("a", True, "rollback"),
        ("b", False, None),
        ("a", False, None),
    ]
    assert moves[0].by == who()
    assert [move.at for move in moves] == sorted((move.at for move in moves), reverse=True)


def test_a_move_that_was_killed_before_the_link_moved_did_not_happen(
    destination: DiskDestination, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("a")
    commit(destination, "b", ["b"])

    def dies(*_: object) -> None:
        raise _Killed

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(storage, "point", dies)
        destination.point(Pointer(run_id="b"))
    assert [move.version for move in destination.history()] == ["a"]
    destination.point(Pointer(run_id="b"))
    assert [move.version for move in destination.history()] == ["b", "a"]


@pytest.mark.parametrize("damage", ["", "{", '[{"version": "a", "at": "yesterday"}]', "[]"])
def test_without_the_moves_everything_counts_from_the_last_move(
    destination: DiskDestination, publish: Publish, damage: str
) -> None:
    for run_id in ("a", "b"):
        publish(run_id)
    (Path(destination.path) / "_moves.json").write_text(damage)
    assert keep_last(destination, 1, grace="15m") == []
    assert keep_last(destination, 1, grace="0s") == ["a"]


def test_what_readers_are_pinned_to_stays_however_old(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    destination.point(Pointer(run_id="a", pinned=True))
    for run_id in ("b", "c", "d"):
        publish(run_id)
    assert keep_last(destination, 1, grace="0s") == ["b", "c"]
    assert read(destination) == ["a-0", "a-1", "a-2"]


def test_a_version_never_shows_half_deleted(
    destination: DiskDestination, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("a")
    publish("b")
    monkeypatch.setattr("shutil.rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        destination.remove("a")
    assert destination.run_ids() == ["b"]
    monkeypatch.undo()
    assert len(destination.sweep()) == 1
    assert list((Path(destination.path) / "_stage").iterdir()) == []


def test_gc_deletes_what_killed_runs_left_and_says_so(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    finish(destination.stage("b"), 0, "unfinished", run_id="b")
    (Path(destination.path) / "current.0123.tmp").symlink_to("versions/b")
    told = gc(RetentionJob(destination=destination.path))
    assert told.leftovers == ("_stage/b", "_stage/b.finished", "current.0123.tmp")
    assert (told.versions, told.waiting) == ((), ())
    assert read(destination) == ["a-0", "a-1", "a-2"]


def test_gc_deletes_old_versions_when_their_time_is_over(
    destination: DiskDestination, publish: Publish
) -> None:
    for run_id in ("a", "b", "c"):
        publish(run_id)
    first = gc(RetentionJob(destination=destination.path, keep=1))
    assert (first.versions, first.waiting) == ((), ("a", "b"))
    second = gc(RetentionJob(destination=destination.path, keep=1, grace="0s"))
    assert (second.versions, second.waiting) == (("a", "b"), ())


def test_gc_deletes_damaged_versions_but_never_the_current_one(
    destination: DiskDestination, publish: Publish
) -> None:
    for run_id in ("a", "b", "c"):
        publish(run_id)
    Path(destination.part("b", MANIFEST)).write_text("{")
    Path(destination.part("c", MANIFEST)).unlink()
    told = gc(RetentionJob(destination=destination.path, grace="0s"))
    assert (told.damaged, told.waiting) == (("b",), ("c",))
    assert destination.run_ids() == ["a", "c"]


def test_gc_waits_for_no_run(destination: DiskDestination, publish: Publish) -> None:
    publish("a")
    with destination.locked(), pytest.raises(LockedError, match="wait for it"):
        gc(RetentionJob(destination=destination.path))


# ---------------------------------------------------------------------------- pointer


def test_rollback_goes_back_by_one_and_later_runs_leave_it_there(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    publish("b")
    told = rollback(destination.path)
    assert (told.run_id, told.previous, told.pinned) == ("a", "b", True)
    publish("c")
    assert read(destination) == ["a-0", "a-1", "a-2"]
    assert unpin(destination.path).run_id == "c"
    assert destination.pointer == Pointer(run_id="c")


def test_rollback_takes_the_beginning_of_a_run_id(
    destination: DiskDestination, publish: Publish
) -> None:
    for run_id in ("aaaa1", "aabb2", "cccc3"):
        publish(run_id)
    assert rollback(destination.path, "aab").run_id == "aabb2"


@pytest.mark.parametrize("run", ["", "x", "a", "../b", "versions/aaaa1", "aaaa1/"])
def test_rollback_refuses_what_is_not_one_version(
    destination: DiskDestination, publish: Publish, run: str
) -> None:
    for run_id in ("aaaa1", "aabb2"):
        publish(run_id)
    with pytest.raises(DestinationError, match="must be one of its versions"):
        rollback(destination.path, run)
    assert destination.pointer == Pointer(run_id="aabb2")


def test_rollback_needs_an_older_version(destination: DiskDestination, publish: Publish) -> None:
    publish("a")
    with pytest.raises(DestinationError, match="before the current one, found none"):
        rollback(destination.path)


def test_rollback_refuses_a_version_that_misses_files(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    publish("b")
    next(Path(destination.path).glob("versions/a/part-00001*")).unlink()
    with pytest.raises(DestinationError, match="must be whole"):
        rollback(destination.path)


def test_a_pointer_that_leads_out_of_the_destination_is_none(
    destination: DiskDestination, publish: Publish, tmp_path: Path
) -> None:
    publish("a")
    link = Path(destination.path) / "current"
    (tmp_path / "a").mkdir()
    for target in ("../a", str(tmp_path / "a"), "versions/../../a", "versions/.", "versions/gone"):
        link.unlink()
        link.symlink_to(target)
        assert destination.pointer is None, target
    with pytest.raises(DestinationError, match="current leads to no version"):
        verify(destination.path)
    destination.point(Pointer(run_id="a"))
    assert read(destination) == ["a-0", "a-1", "a-2"]


def test_a_copy_in_the_place_of_the_pointer_is_refused(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    link = Path(destination.path) / "current"
    link.unlink()
    link.mkdir()
    with pytest.raises(DestinationError, match="must be a link, found a copy"):
        _ = destination.pointer


# ---------------------------------------------------------------------------- resolve


def test_resolve_lists_one_version_for_as_long_as_its_readers_have(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    told = resolve(destination.path)
    publish("b")
    keep_last(destination, 1, grace="15m")
    assert (told.run_id, told.rows) == ("a", 3)
    assert [Path(path).read_text() for path in told.files] == ["a-0", "a-1", "a-2"]


def test_resolve_names_older_versions(destination: DiskDestination, publish: Publish) -> None:
    publish("a")
    publish("b")
    assert resolve(destination.path, "a").run_id == "a"


def test_resolve_before_the_first_version_says_what_to_do(destination: DiskDestination) -> None:
    with pytest.raises(DestinationError, match="embed first"):
        resolve(destination.path)


@pytest.mark.parametrize(
    "name",
    ["../a", "/etc/passwd", "part-00000-a.parquet/../x", "..", MANIFEST, "part-00000-a.parquet\n"],
)
def test_a_manifest_that_names_other_files_is_refused(
    destination: DiskDestination, publish: Publish, name: str
) -> None:
    publish("a")
    path = Path(destination.part("a", MANIFEST))
    sealed = json.loads(path.read_bytes())
    sealed["files"][0]["name"] = name
    path.write_text(json.dumps(sealed))
    for refused in (resolve, verify):
        with pytest.raises(DestinationError, match="missing or damaged"):
            refused(destination.path)


def test_the_manifest_of_another_version_is_refused(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    publish("b")
    other = Path(destination.part("a", MANIFEST)).read_bytes()
    Path(destination.part("b", MANIFEST)).write_bytes(other)
    with pytest.raises(DestinationError, match="manifest of version b"):
        destination.manifest("b")


def test_what_is_no_run_id_is_no_version(destination: DiskDestination, publish: Publish) -> None:
    publish("a")
    for name in (".hidden", "with space", "x" * 65):
        (Path(destination.path) / "versions" / name).mkdir()
    assert destination.run_ids() == ["a"]
    assert not destination.has("..")


# ---------------------------------------------------------------------------- verify


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "stray", "manifest", "no manifest"])
def test_verify_finds_every_damage(
    destination: DiskDestination, publish: Publish, damage: str
) -> None:
    publish("a")
    publish("b")
    assert (verify(destination.path).files, verify(destination.path).versions) == (6, 2)
    folder = Path(destination.path) / "versions" / "a"
    part = next(folder.glob("part-00001*"))
    {
        "flip": lambda: part.write_text("b-1"),
        "cut": lambda: part.write_text("a"),
        "missing": part.unlink,
        "stray": lambda: (folder / "part-00009-x.parquet").write_text("?"),
        "manifest": lambda: (folder / MANIFEST).write_text("{}"),
        "no manifest": (folder / MANIFEST).unlink,
    }[damage]()
    with pytest.raises(DestinationError, match=r"found 1 damaged or missing.*\ba\b"):
        verify(destination.path)


# ---------------------------------------------------------------------------- commit


def test_a_part_that_was_cut_while_it_waited_is_not_published(
    destination: DiskDestination,
) -> None:
    stage = destination.stage("a")
    part = finish(stage, 0, "content", run_id="a")
    Path(destination.path, "_stage/a", part.name).write_text("cont")
    with pytest.raises(PublishError, match="found them missing or cut"):
        destination.commit(stage, manifest_of("a", [part]))
    assert not destination.has("a")


def test_a_published_version_is_never_overwritten(
    destination: DiskDestination, publish: Publish
) -> None:
    publish("a")
    with pytest.raises(OSError, match="not empty"):
        commit(destination, "a", ["other"])
    assert read(destination) == ["a-0", "a-1", "a-2"]


def test_a_commit_that_fails_loses_no_finished_part(
    destination: DiskDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    stage = destination.stage("a")
    part = finish(stage, 0, "content", run_id="a")
    monkeypatch.setattr(storage, "write_file", full)
    with pytest.raises(OSError, match="No space"):
        destination.commit(stage, manifest_of("a", [part]))
    monkeypatch.undo()
    assert destination.stage("a").finished(part.name, part.work) == part


def test_a_part_whose_sync_failed_is_not_trusted_again(
    destination: DiskDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    stage = destination.stage("a")
    part = finish(stage, 0, "content", run_id="a")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        destination.commit(stage, manifest_of("a", [part]))
    monkeypatch.undo()
    assert destination.stage("a").finished(part.name, part.work) is None


def test_a_part_whose_note_was_changed_is_not_trusted_again(destination: DiskDestination) -> None:
    stage = destination.stage("a")
    assert isinstance(stage, DiskStage)
    part = finish(stage, 0, "content", run_id="a")
    (note,) = stage.notes.iterdir()
    told = note.read_text()
    rows = f'"rows":{part.rows}'
    assert rows in told
    note.write_text(told.replace(rows, f'"rows":{part.rows + 1}'))
    assert stage.finished(part.name, part.work) is None
    note.write_text(told)
    assert stage.finished(part.name, part.work) == part


def test_names_are_durable_before_what_follows_them(
    destination: DiskDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every folder is synced after its last change and before the next step is seen."""
    root, log = Path(destination.path), list[str]()
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        path = Path(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), root))
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) or path.name.startswith("part-"):
            log.append(f"sync {path}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        if target.name in ("a", "current"):
            log.append(f"rename {target.relative_to(root)}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    commit(destination, "a", ["content"])
    destination.point(Pointer(run_id="a"))
    assert log[log.index("sync _stage/a/part-00000-a.parquet") :] == [
        "sync _stage/a/part-00000-a.parquet",
        "sync _stage/a",
        "rename versions/a",
        "sync versions",
        "sync _stage",
        "sync versions",
        "sync .",
        "rename current",
        "sync .",
    ]


def test_what_a_killed_run_has_not_synced_is_synced_before_anything_is_deleted(
    destination: DiskDestination, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after a kill must bring back neither an old pointer nor half a version."""
    publish("a")
    publish("b")
    log: list[str] = []
    monkeypatch.setattr(storage, "sync_folder", lambda path: log.append(path.name))
    monkeypatch.setattr("shutil.rmtree", lambda path: log.append("delete"))
    Path(destination.part("a", "")).rename(Path(destination.path, "_stage/a.0123.removed"))
    destination.point(Pointer(run_id="b"))
    destination.sweep()
    assert log == ["versions", "to", "versions", "_stage", "delete"]


def test_a_new_folder_is_durable_with_all_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(storage, "sync_folder", synced.append)
    storage.make_folder(tmp_path / "x/y/z")
    assert synced == [tmp_path.parent, tmp_path, tmp_path / "x", tmp_path / "x/y"]


# ---------------------------------------------------------------------------- opening


def test_the_root_of_a_fresh_file_system_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert open_destination(tmp_path, create=True).run_ids() == []


@pytest.mark.parametrize("mark", ["", "{}", '{"format": "1"}', "[1]", '{"format": true}'])
def test_a_damaged_mark_says_what_to_write(
    destination: DiskDestination, publish: Publish, mark: str
) -> None:
    publish("a")
    (Path(destination.path) / "_parquet2vec.json").write_text(mark)
    with pytest.raises(DestinationError, match=r'must hold {"format": 1}, found it damaged'):
        open_destination(destination.path)


def test_a_disk_without_locks_is_not_taken_for_another_run(
    destination: DiskDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(PublishError, match="No locks available") as raised, destination.locked():
        pass
    assert raised.value.exit_code == 1
