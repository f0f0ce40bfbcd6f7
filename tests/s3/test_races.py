"""Writers at the same time: the store decides, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stand.victim import start
from stand.world import Place, World, add_file, hashes, names

from pipeline import embed, objects, verify
from pipeline.destinations import open_destination
from pipeline.errors import PublishError
from pipeline.locations import S3Location, locate
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import MANIFEST, PartReport, Pointer
from pipeline.retention import whole
from pipeline.s3_destination import S3Destination
from pipeline.s3_stage import S3Stage
from pipeline.shards import Shard
from pipeline.store_errors import ChangedError
from pipeline.version_making import ShardFunction

CHAOS = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def opened(to: str) -> S3Destination:
    destination = open_destination(to)
    assert isinstance(destination, S3Destination)
    return destination


@pytest.mark.parametrize("races", [2, pytest.param(20, marks=CHAOS)], ids=["share", "whole"])
def test_writers_of_the_same_work_all_end_well(
    world: World, place: Place, figure: Callable[[object], None], races: int
) -> None:
    for race in range(races):
        to = place()
        ended = [writer.wait() for writer in [start(world.job(to)) for _ in range(2 + race % 3)]]
        assert [each.code for each in ended] == [0] * len(ended), [each.said for each in ended]
        assert (len(opened(to).run_ids()), hashes(to)) == (1, world.expected)
        verify(to)
    figure(f"{races} races of 2 to 4 writers: all done, one version each")


@pytest.mark.parametrize("races", [2, pytest.param(20, marks=CHAOS)], ids=["share", "whole"])
def test_writers_of_different_work_both_publish_and_readers_see_one(
    world: World, place: Place, figure: Callable[[object], None], races: int
) -> None:
    more = add_file(world, S3Location("lake", "world").join("raced"), seed=6)
    for _ in range(races):
        to = place()
        jobs = [world.job(to), world.job(to, source=more)]
        ended = [writer.wait() for writer in [start(job) for job in jobs]]
        assert [each.code for each in ended] == [0, 0], ended
        destination = opened(to)
        assert len(destination.run_ids()) == 2
        verify(to)
        pointer = destination.pointer
        assert pointer is not None
        assert pointer.run_id in destination.run_ids()
    figure(f"{races} races: two whole versions each, the pointer at one of them")


def test_of_two_who_move_the_pointer_the_later_version_wins(world: World, place: Place) -> None:
    to = place()
    first = embed(world.job(to)).run_id
    second = embed(world.job(to, source=add_file(world, locate_s3(place()), seed=1))).run_id
    third = embed(world.job(to, source=add_file(world, locate_s3(place()), seed=2))).run_id
    one, other = opened(to), opened(to)
    assert one.pointer == other.pointer == Pointer(run_id=third)
    one.point(Pointer(run_id=second))
    other.point(Pointer(run_id=first))
    assert opened(to).pointer == Pointer(run_id=second)


def test_a_pin_made_meanwhile_stays_and_a_pin_always_wins(world: World, place: Place) -> None:
    to = place()
    first = embed(world.job(to)).run_id
    second = embed(world.job(to, source=add_file(world, locate_s3(place()), seed=1))).run_id
    run, person, another = opened(to), opened(to), opened(to)
    assert run.pointer == person.pointer == another.pointer
    person.point(Pointer(run_id=first, pinned=True))
    run.point(Pointer(run_id=first))
    assert opened(to).pointer == Pointer(run_id=first, pinned=True)
    another.point(Pointer(run_id=second, pinned=True))
    assert opened(to).pointer == Pointer(run_id=second, pinned=True)


def test_a_listing_that_lags_behind_hides_no_pointer(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()
    for seed in range(3):
        last = embed(world.job(to, source=add_file(world, locate_s3(place()), seed=seed))).run_id
    children = objects.children
    monkeypatch.setattr(objects, "children", lambda prefix: children(prefix)[:1])
    pointer = opened(to).pointer
    assert pointer is not None
    assert pointer.run_id == last


def test_a_listing_that_lags_behind_makes_no_version_look_damaged(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    monkeypatch.setattr(objects, "listed", lambda prefix: iter([]))
    assert whole(opened(to), run_id) is not None


@pytest.fixture
def stage(place: Place) -> S3Stage:
    return S3Stage(locate_s3(place()), "run")


def report(sha256: str = "1" * 64, *, size: int = 3) -> PartReport:
    name = "part-00000-run.parquet"
    known = {"name": name, "rows": 1, "bytes": size, "sha256": sha256, "work": "w" * 64}
    return PartReport.model_validate(known | {"source": "x", "row_groups": (0,)})


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "written"
    path.write_bytes(data)
    return path


def test_a_part_is_created_once_and_who_comes_later_takes_it(
    stage: S3Stage, tmp_path: Path
) -> None:
    first = stage.finish(written(tmp_path, b"abc"), report())
    late = stage.finish(written(tmp_path, b"other"), report("2" * 64, size=5))
    assert late == first
    assert objects.read(stage.root.join("versions", "run", first.name)) == b"abc"


def test_what_no_run_of_ours_has_put_is_replaced(stage: S3Stage, tmp_path: Path) -> None:
    part = stage.root.join("versions", "run", report().name)
    objects.write(part, b"rubbish")
    stage.finish(written(tmp_path, b"abc"), report())
    assert objects.read(part) == b"abc"


def test_a_version_that_another_run_deletes_meanwhile_is_not_published(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, create = place(), objects.create

    def create_late(location: S3Location, data: bytes) -> bool:
        if location.name == MANIFEST:
            found = [facts.location for facts in objects.listed(locate_s3(to).join("versions"))]
            objects.delete([one for one in found if one.name.endswith(".parquet")][:1])
        return create(location, data)

    monkeypatch.setattr(objects, "create", create_late)
    with pytest.raises(PublishError, match="missing or cut"):
        embed(world.job(to))
    assert opened(to).run_ids() == []


@pytest.mark.parametrize("other", [None, b"of a run that took over other parts"])
def test_a_profile_that_another_run_touches_meanwhile_is_the_one_that_was_sealed(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch, other: bytes | None
) -> None:
    to, create = place(), objects.create

    def create_late(location: S3Location, data: bytes) -> bool:
        created = create(location, data)
        if location.name == MANIFEST:
            folder = S3Location(location.bucket, location.key.rpartition("/")[0])
            touched = folder.join(RUN_PROFILE)
            objects.write(touched, other) if other else objects.delete([touched])
        return created

    monkeypatch.setattr(objects, "create", create_late)
    embed(world.job(to))
    verify(to)


def test_a_run_that_is_late_leaves_the_profile_of_what_was_published(
    world: World, place: Place
) -> None:
    to, has = place(), S3Destination.has
    run_id, seen = embed(world.job(to)).run_id, [True, False]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Destination, "has", lambda self, run: seen.pop() and has(self, run))
        opened(to)._put_profile(run_id, b"of a run that took over other parts")
    assert not seen
    verify(to)


def test_a_version_that_lacks_a_part_is_never_sealed(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, sealed = place(), []
    create = objects.create

    def remember(location: S3Location, data: bytes) -> bool:
        sealed.extend([location] if location.name == MANIFEST else [])
        return create(location, data)

    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        reports = [function(shard) for shard in shards]
        run_id = names(f"{to}/versions")[0].partition("/")[0]
        objects.delete([locate_s3(to).join("versions", run_id, reports[1].name)])
        return reports

    monkeypatch.setattr(objects, "create", remember)
    with pytest.raises(PublishError, match="missing or cut"):
        embed(world.job(to), map_shards=mapped)
    assert not sealed


def test_a_range_of_another_object_than_was_seen_is_refused(place: Place) -> None:
    location = locate_s3(place())
    objects.write(location, b"first")
    seen = objects.head(location)
    assert bytes(objects.read_range(seen, 1, 3)) == b"ir"
    objects.write(location, b"other")
    with pytest.raises(ChangedError, match="was replaced meanwhile"):
        objects.read_range(seen, 1, 3)


def test_a_batch_that_is_refused_is_deleted_one_by_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [locate_s3(place()).join(name) for name in ("a", "b")]
    objects.write(found[0], b"1")
    ask, refused = objects._request, []

    def request(location: S3Location, *arguments: Any, **options: Any) -> Any:
        if not refused:
            refused.append(location)
            raise OSError("refused")
        return ask(location, *arguments, **options)

    monkeypatch.setattr(objects, "_request", request)
    objects.delete(found)
    assert refused
    with pytest.raises(FileNotFoundError):
        objects.head(found[0])


def test_a_version_goes_manifest_first(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    deleted: list[list[str]] = []
    monkeypatch.setattr(objects, "delete", lambda found: deleted.append([x.name for x in found]))
    opened(to).remove(run_id)
    assert deleted[0] == [MANIFEST]


def test_only_what_was_given_up_long_ago_is_swept(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()
    embed(world.job(to))
    other = S3Stage(locate_s3(to), "another-run")
    objects.create(other.root.join("versions", "another-run", "part-00000-x.parquet"), b"1")
    objects.create(other.root.join("_stage", "another-run", "part-00000-x.parquet.json"), b"1")
    assert opened(to).sweep() == []
    monkeypatch.setattr("pipeline.s3_destination._GIVEN_UP", timedelta(days=-1))
    assert len(opened(to).sweep()) == 2
    assert not [name for name in names(to) if "another-run" in name]
    verify(to)


def locate_s3(url: str) -> S3Location:
    location = locate(url)
    assert isinstance(location, S3Location)
    return location
