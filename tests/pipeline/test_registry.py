"""The registry of models on disk: versions appear whole, aliases move in one step, few stay."""

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import registries, storage
from pipeline.aliases import resolved
from pipeline.bundle import Bundle
from pipeline.disk_registry import DiskRegistry
from pipeline.errors import BundleError, LockedError, PublishError
from pipeline.lineage import Lineage, code, now, who
from pipeline.publishing import Pointer
from pipeline.registries import clean, open_registry
from pipeline.registry import MARK, before_production, find

Add = Callable[..., str]


def lineage(version: str, **known: Any) -> Lineage:
    told = {"bundle": "f" * 64, "code": code(), "at": now(), "by": who()}
    return Lineage.model_validate({"version": version} | told | known)


@pytest.fixture
def models(tmp_path: Path) -> DiskRegistry:
    registry = open_registry(tmp_path / "models", create=True)
    assert isinstance(registry, DiskRegistry)
    return registry


@pytest.fixture
def add(models: DiskRegistry, bundle: Bundle) -> Add:
    """Registers the session's bundle under a name, `days` ago."""

    def added(version: str, *, days: float = 0) -> str:
        models.add(bundle.path, lineage(version, at=now() - timedelta(days=days)))
        return version

    return added


def promote(models: DiskRegistry, version: str, *, pinned: bool = False) -> None:
    seen = models.alias("production")
    pointer = Pointer(run_id=version, pinned=pinned)
    assert models.move("production", pointer, expected=seen)


def test_a_version_is_the_bundle_and_an_alias_opens_it(
    models: DiskRegistry, add: Add, bundle: Bundle
) -> None:
    promote(models, add("a"))
    opened = Bundle.open(f"{models.path}/production")
    assert opened.fingerprint == bundle.fingerprint
    assert str(opened.path) == resolved(f"{models.path}/production") == models.location("a")


def test_whoever_opened_an_alias_stays_with_its_version(
    models: DiskRegistry, add: Add, bundle: Bundle, bundle_of: Any, make_table: Any
) -> None:
    promote(models, add("a"))
    opened = Bundle.open(f"{models.path}/production")
    models.add(bundle_of(make_table(200)).path, lineage("b"))
    promote(models, "b")
    assert opened.read("core.onnx") == bundle.read("core.onnx")
    assert Bundle.open(f"{models.path}/production").fingerprint != bundle.fingerprint


def test_a_version_that_is_there_stays_as_it_was(
    models: DiskRegistry, add: Add, bundle: Bundle, bundle_of: Any, make_table: Any
) -> None:
    add("a", days=3)
    models.add(bundle_of(make_table(200)).path, lineage("a", run="late"))
    assert Bundle.open(models.location("a")).fingerprint == bundle.fingerprint
    told = models.lineage("a")
    assert told is not None
    assert told.run is None


def test_a_damaged_bundle_is_not_registered(
    models: DiskRegistry, bundle: Bundle, tmp_path: Path
) -> None:
    for name in [*bundle.manifest.files, "manifest.json"]:
        (tmp_path / name).write_bytes((bundle.path / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match="is damaged"):
        models.add(tmp_path, lineage("a"))
    assert models.versions() == []


def test_lineage_that_was_changed_is_none(models: DiskRegistry, add: Add) -> None:
    add("a")
    path = models.root / "lineage" / "a.json"
    path.write_bytes(path.read_bytes().replace(who().encode(), b"somebody@else"))
    assert models.lineage("a") is None
    assert models.versions() == ["a"]


def test_lineage_of_another_version_is_none(models: DiskRegistry, add: Add) -> None:
    add("a")
    (models.root / "lineage" / "a.json").write_bytes(lineage("b").to_bytes())
    assert models.lineage("a") is None


def test_an_alias_is_moved_only_from_where_it_was_seen(models: DiskRegistry, add: Add) -> None:
    promote(models, add("a"))
    add("b")
    assert not models.move("production", Pointer(run_id="b"), expected=None)
    assert not models.move("production", Pointer(run_id="b"), expected=Pointer(run_id="b"))
    assert find(models, "production") == "a"
    assert models.move("production", Pointer(run_id="b"), expected=Pointer(run_id="a"))
    assert find(models, "production") == "b"


def test_of_many_who_move_an_alias_at_once_one_does(models: DiskRegistry, add: Add) -> None:
    names = [add(name) for name in "abcdef"]
    start, moved = threading.Barrier(len(names)), []

    def race(name: str) -> None:
        start.wait()
        moved.append(models.move("production", Pointer(run_id=name), expected=None))

    threads = [threading.Thread(target=race, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [False] * 5 + [True]
    assert [move.version for move in models.history("production")] == [find(models, "production")]


def test_an_alias_leads_to_versions_only(models: DiskRegistry) -> None:
    with pytest.raises(BundleError, match="has no version x"):
        models.move("production", Pointer(run_id="x"), expected=None)


def test_the_history_says_who_moved_an_alias_when_and_why(models: DiskRegistry, add: Add) -> None:
    add("a")
    pointer = Pointer(run_id="a", by="me@here", why="better")
    models.move("production", pointer, expected=None)
    (move,) = models.history("production")
    assert (move.version, move.by, move.why) == ("a", "me@here", "better")
    assert models.alias("production") == pointer


@pytest.mark.parametrize(
    ("moves", "before"),
    [
        ("a", None),
        ("ab", "a"),
        ("abc", "b"),
        ("abA", None),
        ("abcB", "a"),
        ("abAc", "a"),
        ("aba", "b"),
        ("abcBc", "b"),
        ("aB", "a"),
    ],
)
def test_what_production_was_before_forgets_what_was_rolled_back(
    models: DiskRegistry, add: Add, moves: str, before: str | None
) -> None:
    """A small letter is a promotion, a capital one a rollback."""
    for name in sorted({*moves.lower()}):
        add(name)
    for name in moves:
        promote(models, name.lower(), pinned=name.isupper())
    assert before_production(models) == before


class _Killed(BaseException):
    pass


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Ends the process, in effect, before the n-th change of the disk."""
    change = Path.rename

    def kill(at: int) -> None:
        count = 0

        def rename(self: Path, target: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise _Killed
            return change(self, target)

        monkeypatch.setattr(Path, "rename", rename)

    yield kill
    monkeypatch.undo()


def test_what_production_was_before_is_there(models: DiskRegistry, add: Add) -> None:
    for name in "abc":
        promote(models, add(name))
    models.remove("b")
    assert before_production(models) == "a"
    models.remove("a")
    assert before_production(models) is None


@pytest.mark.parametrize("at", [1, 2])
def test_a_move_that_was_killed_did_not_happen_and_can_be_made_again(
    models: DiskRegistry,
    add: Add,
    killed_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    promote(models, add("a"))
    add("b")
    killed_at(at)
    with pytest.raises(_Killed):
        promote(models, "b", pinned=True)
    monkeypatch.undo()
    assert models.alias("production") == Pointer(run_id="a")
    assert [move.version for move in models.history("production")] == ["a"]
    promote(models, "b")
    assert [move.version for move in models.history("production")] == ["b", "a"]


def test_kill_9_while_an_alias_moves_leaves_the_old_or_the_new(
    models: DiskRegistry, add: Add
) -> None:
    promote(models, add("a"))
    add("b")
    for step in range(12):
        child = os.fork()
        if child == 0:
            while True:
                seen = models.alias("production")
                assert seen is not None
                other = "b" if seen.run_id == "a" else "a"
                models.move("production", Pointer(run_id=other), expected=seen)
        threading.Event().wait(0.004 + 0.003 * step)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen = models.alias("production")
        assert seen is not None
        assert Bundle.open(models.root / "production").path.name == seen.run_id
        assert models.history("production")[0].version == seen.run_id
        promote(models, "b" if seen.run_id == "a" else "a")


def test_a_link_that_was_moved_by_hand_is_where_it_leads(models: DiskRegistry, add: Add) -> None:
    promote(models, add("a"))
    add("b")
    storage.point(models.root / "production", "versions/b")
    assert [move.version for move in models.history("production")] == ["b", "a"]
    assert before_production(models) == "a"


def test_an_alias_of_a_version_that_is_gone_says_which_and_what_to_do(
    models: DiskRegistry, add: Add
) -> None:
    promote(models, add("a"))
    models.remove("a")
    with pytest.raises(BundleError, match=r"found that versions/a is not there; .*models list"):
        Bundle.open(models.root / "production")
    with pytest.raises(BundleError, match=r"version a is not there any more; .*models rollback"):
        find(models, "production")


@pytest.mark.parametrize("name", ["", "x", "a", "candidate"])
def test_what_names_no_version_or_several_is_refused(
    models: DiskRegistry, add: Add, name: str
) -> None:
    add("aa")
    add("ab")
    with pytest.raises(BundleError, match=r"found (0|2|none)"):
        find(models, name)
    assert find(models, "ab") == "ab"


def test_old_versions_go_but_none_that_an_alias_or_a_rollback_needs(
    models: DiskRegistry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, name in enumerate("gfedcba"):
        add(name, days=days + 2)
    promote(models, "a")
    promote(models, "c")
    models.move("candidate", Pointer(run_id="d"), expected=None)
    found = clean(models, keep=2, grace="1d")
    assert (found.versions, found.waiting) == (("b", "e"), ())
    assert models.versions() == ["a", "c", "d", "f", "g"]
    assert models.lineage("b") is None


def test_the_model_of_vectors_that_are_read_stays(
    models: DiskRegistry, bundle: Bundle, add: Add
) -> None:
    for name, fingerprint in {"a": "a" * 64, "b": "b" * 64}.items():
        models.add(bundle.path, lineage(name, at=now() - timedelta(days=9), bundle=fingerprint))
    (models.root / "lineage" / f"{add('c', days=8)}.json").unlink()
    promote(models, add("d"))
    assert clean(models, keep=1, grace="0s", models={"b" * 64}).versions == ("a",)
    assert sorted(models.versions()) == ["b", "c", "d"]


def test_a_version_stays_for_those_who_opened_it(models: DiskRegistry, add: Add) -> None:
    for name in "abc":
        promote(models, add(name, days=9))
    add("d")
    found = clean(models, keep=1, grace="1h")
    assert (found.versions, found.waiting) == ((), ("a",))
    assert clean(models, keep=1, grace="0s").versions == ("a",)


def test_a_deletion_that_was_killed_leaves_no_half_version(
    models: DiskRegistry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(models, add("b"))
    add("a", days=3)
    add("c")

    def killed(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise _Killed

    monkeypatch.setattr("pipeline.disk_registry.shutil.rmtree", killed)
    with pytest.raises(_Killed):
        clean(models, keep=1, grace="1h")
    monkeypatch.undo()
    assert models.versions() == ["b", "c"]
    monkeypatch.setattr("pipeline.disk_registry._GIVEN_UP_SECONDS", 3600)
    assert len(clean(models, keep=1, grace="1h").leftovers) == 1
    assert list((models.root / "_removed").iterdir()) == []


def test_work_that_was_killed_goes_when_nobody_will_ask_for_it(models: DiskRegistry) -> None:
    work = models.root / "versions" / ".x.work"
    work.mkdir(parents=True)
    (work / "state").write_bytes(b"")
    assert clean(models, keep=1, grace="0s").leftovers == ()
    for path in (work / "state", work):
        os.utime(path, (0, 0))
    assert clean(models, keep=1, grace="0s").leftovers == ("versions/.x.work",)


def test_one_run_trains_a_version(models: DiskRegistry) -> None:
    with (
        models.claimed("a"),
        pytest.raises(LockedError, match=r"version a of .*models is being trained by another run"),
        models.claimed("a"),
    ):
        pass
    with models.claimed("a") as folder, models.claimed("b"):
        assert str(folder) == models.location("a")


def test_whoever_does_not_let_go_is_told_of(
    models: DiskRegistry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.disk_registry._PATIENCE_SECONDS", 0)
    add("a")
    held = os.open(models.root / "_lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="held by another run"):
            promote(models, "a")
    finally:
        os.close(held)
    promote(models, "a")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "found nothing"),
        (["table.parquet"], "found neither"),
        (["_parquet2vec.json", "versions"], "a destination of vectors"),
    ],
)
def test_another_folder_is_no_registry(tmp_path: Path, files: list[str], told: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=told):
        open_registry(tmp_path, create=bool(files))


@pytest.mark.parametrize(
    ("content", "told"), [(b"{", "found it damaged"), (b'{"format": 9}', "has format 9")]
)
def test_a_damaged_mark_and_a_newer_format_are_told(
    models: DiskRegistry, content: bytes, told: str
) -> None:
    (models.root / MARK).write_bytes(content)
    with pytest.raises(BundleError, match=told):
        open_registry(models.root)


def test_a_registry_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((BundleError, PublishError), match="file"):
        open_registry(tmp_path / "file" / "models", create=True)
    with pytest.raises(BundleError, match="must be a folder"):
        open_registry(tmp_path / "file", create=True)


def test_a_failed_deletion_is_told(
    models: DiskRegistry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("a", days=2)
    add("b")

    def refuses(_: DiskRegistry, version: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(DiskRegistry, "remove", refuses)
    with pytest.raises(PublishError, match=r"cannot clean .*Permission denied"):
        registries.clean(models, keep=1, grace="0s")


def test_a_registry_whose_first_run_was_killed_before_its_mark_had_a_name_is_made(
    models: DiskRegistry, add: Add
) -> None:
    mark = models.root / MARK
    mark.rename(left := mark.with_name(f"{MARK}.0123.tmp"))
    assert open_registry(models.root, create=True) == models
    promote(models, add("a"))
    old = now().timestamp() - 8 * 86_400
    os.utime(left, (old, old))
    for name in ("production.0123.tmp", "_moves/production.json.0123.tmp"):
        (models.root / name).symlink_to("versions/a")
    gone = clean(models, keep=1, grace="0s").leftovers
    assert gone == (f"{MARK}.0123.tmp", "_moves/production.json.0123.tmp", "production.0123.tmp")
    assert not list(models.root.rglob("*.tmp"))
