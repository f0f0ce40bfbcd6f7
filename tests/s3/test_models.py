"""The registry of models in an object store: uploads, aliases, races, and what is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from stand.world import Place, World, names

from flows.inspection import inspect
from pipeline import embed, objects, verify
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, PublishError, StoreError
from pipeline.lineage import Lineage, code, now, who
from pipeline.locations import S3Location
from pipeline.publishing import Pointer
from pipeline.registries import clean, open_registry
from pipeline.registry import MARK, before_production, find
from pipeline.s3_registry import S3Registry


def lineage(version: str) -> Lineage:
    return Lineage(version=version, bundle="f" * 64, code=code(), at=now(), by=who())


@pytest.fixture
def models(place: Place) -> S3Registry:
    registry = open_registry(place(), create=True)
    assert isinstance(registry, S3Registry)
    return registry


def add(models: S3Registry, world: World, *versions: str) -> None:
    for version in versions:
        models.add(world.bundle, lineage(version))


def promote(models: S3Registry, version: str, *, pinned: bool = False) -> None:
    seen = models.alias("production")
    pointer = Pointer(run_id=version, pinned=pinned, by="me", why="better")
    assert models.move("production", pointer, expected=seen)


def test_a_version_is_uploaded_and_its_alias_embeds(
    models: S3Registry, world: World, place: Place
) -> None:
    add(models, world, "a")
    promote(models, "a")
    opened = Bundle.open(f"{models.path}/production")
    assert opened.fingerprint == Bundle.open(world.bundle).fingerprint
    assert models.manifest("a") == opened.manifest
    to = place()
    report = embed(world.job(to, bundle=f"{models.path}/production"))
    assert report.rows == 600
    assert find(models, "production") == "a"


def test_an_alias_is_inspected_and_verified_as_the_bundle_it_leads_to(
    models: S3Registry, world: World
) -> None:
    add(models, world, "a")
    promote(models, "a")
    alias = f"{models.path}/production"
    assert verify(alias).what == "bundle"
    assert inspect(alias).what == "bundle"


def test_the_manifest_comes_last_and_a_killed_upload_goes_on(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = objects.create

    def dies(location: S3Location, data: bytes) -> bool:
        if location.name == "manifest.json":
            raise KeyboardInterrupt
        return created(location, data)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(objects, "create", dies)
        add(models, world, "a")
    assert (models.has("a"), models.versions()) == (False, [])
    with pytest.raises(BundleError, match=r"found no manifest.json"):
        Bundle.open(models.location("a"))
    add(models, world, "a")
    assert Bundle.open(models.location("a")).fingerprint == Bundle.open(world.bundle).fingerprint


class _Killed(BaseException):
    pass


def killed(at: int, when: str, ask: Callable[..., Any]) -> Callable[..., Any]:
    """Requests to the store, of which the one that is meant is the last."""
    count = 0

    def request(*known: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if (count, when) == (at, "before"):
            raise _Killed
        try:
            return ask(*known, **options)
        finally:
            if count == at:
                raise _Killed

    return request


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_request_an_alias_leads_to_the_old_or_the_new(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    add(models, world, "a")
    promote(models, "a")
    for at in range(1, 100):
        seen, new = find(models, "production"), f"b{at}"
        with monkeypatch.context() as patched:
            patched.setattr(objects, "_request", killed(at, when, objects._request))
            with suppress(_Killed):
                add(models, world, new)
                promote(models, new)
                break
        assert find(models, "production") in (seen, new)
        assert Bundle.open(f"{models.path}/production")
        add(models, world, new)
        promote(models, new)
        assert models.lineage(new) is not None
    assert 15 < at < 60


def test_what_an_older_upload_left_is_replaced(models: S3Registry, world: World) -> None:
    objects.write(models.root.join("versions", "a", "encoder.onnx"), b"of an older library")
    add(models, world, "a")
    assert Bundle.open(models.location("a")).fingerprint == Bundle.open(world.bundle).fingerprint


def test_two_uploads_of_other_bytes_at_once_are_told(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = objects.create

    def races(location: S3Location, data: bytes) -> bool:
        if location.name == "manifest.json":
            objects.write(models.root.join("versions", "a", "encoder.onnx"), b"of another run")
        return created(location, data)

    monkeypatch.setattr(objects, "create", races)
    with pytest.raises(PublishError, match=r"written by two runs at the same time.*encoder.onnx"):
        add(models, world, "a")
    assert not models.has("a")


def test_an_alias_is_a_sequence_of_objects_created_once(models: S3Registry, world: World) -> None:
    add(models, world, "a", "b")
    promote(models, "a")
    promote(models, "b")
    assert [n for n in names(models.path) if n.startswith("production")] == [
        "production/pointers/000001.json",
        "production/pointers/000002.json",
    ]
    assert [move.version for move in models.history("production")] == ["b", "a"]
    assert models.history("production")[0].by == "me"
    assert before_production(models) == "a"
    assert not models.move("production", Pointer(run_id="a"), expected=Pointer(run_id="a"))


def test_a_damaged_alias_is_told_and_never_guessed(models: S3Registry, world: World) -> None:
    add(models, world, "a", "b", "c")
    promote(models, "a")
    promote(models, "b")
    newest = models.root.join("production", "pointers", "000002.json")
    objects.write(newest, objects.read(newest).replace(b'"run_id"', b'"ruf_id"'))
    told = r"production/pointers/000002\.json must name a version, found it damaged; delete it"
    asked = (
        lambda: Bundle.open(f"{models.path}/production"),
        lambda: models.alias("production"),
        lambda: models.history("production"),
        lambda: models.move("production", Pointer(run_id="c"), expected=None),
        lambda: clean(models, keep=1, grace="0s"),
        lambda: find(models, "production"),
    )
    for ask in asked:
        with pytest.raises(BundleError, match=told):
            ask()
    assert models.versions() == ["a", "b", "c"]
    objects.delete([newest])
    assert find(models, "production") == "a"


def test_of_many_who_move_an_alias_at_once_one_does(models: S3Registry, world: World) -> None:
    versions = ["a", "b", "c", "d"]
    add(models, world, *versions)
    start, moved = threading.Barrier(len(versions)), []

    def race(version: str) -> None:
        start.wait()
        moved.append(models.move("production", Pointer(run_id=version), expected=None))

    threads = [threading.Thread(target=race, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [False, False, False, True]
    assert len(models.history("production")) == 1


def test_an_alias_of_a_version_that_is_gone_says_which(models: S3Registry, world: World) -> None:
    add(models, world, "a")
    promote(models, "a")
    assert not models.remove("a")
    objects.delete([S3Location(models.root.bucket, f"{models.root.key}/versions/a/manifest.json")])
    with pytest.raises(BundleError, match=r"production must lead to a bundle, found that .*/a is"):
        Bundle.open(f"{models.path}/production")
    with pytest.raises(BundleError, match="version a is not there any more"):
        find(models, "production")


def test_a_version_that_is_deleted_while_an_alias_moves_to_it_is_told(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(models, world, "a", "b")
    promote(models, "a")
    asked: list[str] = []

    def has(_: S3Registry, version: str) -> bool:
        asked.append(version)
        return len(asked) == 1

    with monkeypatch.context() as patched:
        patched.setattr(S3Registry, "has", has)
        with pytest.raises(BundleError, match="was deleted meanwhile; production leads where it"):
            promote(models, "b")
    assert find(models, "production") == "a"


def test_old_versions_go_but_none_that_is_needed(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "abcd":
        add(models, world, version)
    for version in "bc":
        promote(models, version)
    assert clean(models, keep=1, grace="1h").waiting == ("a",)
    assert clean(models, keep=1, grace="0s").versions == ("a",)
    assert set(models.versions()) == {"b", "c", "d"}
    assert not [name for name in names(models.path) if "/a" in name]


def test_a_version_that_an_alias_is_moved_to_while_it_is_deleted_stays(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "abc":
        add(models, world, version)
    promote(models, "c")
    delete, looked = objects.delete, []

    def moves_first(locations: Iterable[S3Location]) -> None:
        if not looked:
            looked.append(models.move("candidate", Pointer(run_id="a"), expected=None))
        delete(locations)

    with monkeypatch.context() as patched:
        patched.setattr(objects, "delete", moves_first)
        assert clean(models, keep=1, grace="0s").versions == ("b",)
    assert looked == [True]
    assert sorted(models.versions()) == ["a", "c"]
    assert Bundle.open(f"{models.path}/candidate").fingerprint
    assert models.lineage("a") is not None


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_request_a_deletion_leaves_whole_versions_and_is_done_again(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("pipeline.s3_registry._GIVEN_UP", timedelta(0))
    for at in range(1, 200):
        add(models, world, "a", "b", "c")
        if models.alias("production") is None:
            promote(models, "c")
        with monkeypatch.context() as patched:
            patched.setattr(objects, "_request", killed(at, when, objects._request))
            with suppress(_Killed):
                clean(models, keep=1, grace="0s")
                break
        for version in models.versions():
            assert Bundle.open(models.location(version)).fingerprint
        assert find(models, "production") == "c"
        clean(models, keep=1, grace="0s")
        left = {name.split("/")[1] for name in names(models.path) if "versions/" in name}
        assert left == set(models.versions())
        assert len(left) <= 2
    assert 20 < at < 100


def test_an_upload_that_was_given_up_goes(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.write(models.root.join("versions", "x", "encoder.onnx"), b"1")
    assert clean(models, keep=1, grace="0s").leftovers == ()
    monkeypatch.setattr("pipeline.s3_registry._GIVEN_UP", timedelta(0))
    assert clean(models, keep=1, grace="0s").leftovers == ("versions/x",)


def test_a_prefix_that_is_no_registry_is_refused(world: World, place: Place) -> None:
    with pytest.raises(BundleError, match="found nothing"):
        open_registry(place())
    with pytest.raises(BundleError, match="found neither"):
        open_registry(world.stored_source, create=True)
    to = place()
    embed(world.job(to))
    with pytest.raises(BundleError, match="a destination of vectors"):
        open_registry(to, create=True)


def test_a_store_that_replaces_what_is_created_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "create", lambda location, data: True)
    with pytest.raises(PublishError, match="creates an object only once"):
        open_registry(place(), create=True)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_gone_is_told(
    models: S3Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(models, world, "a")
    promote(models, "a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for ask in (
        lambda: open_registry(models.path),
        lambda: models.alias("production"),
        lambda: models.versions(),
        lambda: Bundle.open(f"{models.path}/production"),
    ):
        with pytest.raises(StoreError):
            ask()


def test_the_mark_is_a_small_object_beside_the_versions(models: S3Registry) -> None:
    assert objects.read(models.root.join(MARK)) == b'{"format": 1}'
