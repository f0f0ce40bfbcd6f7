"""embed from, to and within a store: the same bytes as on disk, and nothing lost on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stand.server import SECRET_KEY, StoreServer
from stand.world import SMALL, Place, World, add_file, content, hashes, names, put

from pipeline import embed, objects, verify
from pipeline.destinations import open_destination
from pipeline.embedding import ShardPlan
from pipeline.errors import BundleError, DataError, DestinationError, PublishError, StoreError
from pipeline.locations import S3Location, locate
from pipeline.publishing import PartReport, Pointer
from pipeline.shards import Shard
from pipeline.source import open_source
from pipeline.version_making import MapShards, ShardFunction


def at(url: str) -> S3Location:
    location = locate(url)
    assert isinstance(location, S3Location)
    return location


def stopping_after(count: int) -> MapShards:
    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        for shard in shards[:count]:
            yield function(shard)
        raise KeyboardInterrupt

    return mapped


def test_from_store_to_store_the_bytes_are_those_of_a_disk(world: World, place: Place) -> None:
    to = place()
    report = embed(world.job(to))
    assert (report.computed, report.published, hashes(to)) == (3, True, world.expected)
    assert verify(to).files == 3
    assert not [name for name in names(to) if name.startswith("_stage")]


def test_from_disk_to_store(world: World, place: Place) -> None:
    to = place()
    embed(world.job(to, bundle=str(world.bundle), source=str(world.source)))
    assert hashes(to) == world.expected


def test_from_store_to_disk(world: World, place: Place, tmp_path: Path) -> None:
    place()
    embed(world.job(tmp_path / "to"))
    assert hashes(tmp_path / "to") == world.expected


def test_the_same_work_again_computes_nothing(world: World, place: Place) -> None:
    to = place()
    first, again = embed(world.job(to)), embed(world.job(to))
    assert (again.run_id, again.published, again.computed) == (first.run_id, False, 0)
    assert [n for n in names(to) if n.startswith("pointers")] == ["pointers/000001.json"]


def test_only_new_objects_are_computed(world: World, place: Place) -> None:
    to = place()
    embed(world.job(to))
    more = add_file(world, at(place()), seed=7)
    report = embed(world.job(to, source=more))
    # The same bytes have the same entity tag, wherever they lie.
    assert (report.reused, report.computed) == (3, 1)
    assert hashes(to)[:3] == world.expected
    verify(to)


def test_an_interrupted_run_goes_on_with_its_finished_parts(world: World, place: Place) -> None:
    to = place()
    with pytest.raises(KeyboardInterrupt):
        embed(world.job(to), map_shards=stopping_after(2))
    assert open_destination(to).pointer is None
    report = embed(world.job(to))
    assert (report.resumed, report.computed, hashes(to)) == (2, 1, world.expected)


def test_a_finished_part_that_was_replaced_is_made_again(world: World, place: Place) -> None:
    to = place()
    with pytest.raises(KeyboardInterrupt):
        embed(world.job(to), map_shards=stopping_after(2))
    part = next(name for name in names(to) if "part-00001" in name and name.startswith("versions"))
    objects.write(at(to).join(*part.split("/")), b"x" * 100)
    report = embed(world.job(to))
    assert (report.resumed, report.computed, hashes(to)) == (1, 2, world.expected)


def test_an_old_part_that_was_replaced_is_not_taken_over(world: World, place: Place) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    old = at(to).join("versions", run_id, f"part-00001-{run_id[:8]}.parquet")
    objects.write(old, objects.read(old))
    report = embed(world.job(to, source=add_file(world, at(place()), seed=8)))
    assert (report.reused, report.computed) == (2, 2)
    assert hashes(to)[:3] == world.expected


def test_a_flipped_bit_in_a_published_part_is_found(world: World, place: Place) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    part = at(to).join("versions", run_id, f"part-00001-{run_id[:8]}.parquet")
    data = bytearray(objects.read(part))
    data[100] ^= 1
    objects.write(part, bytes(data))
    with pytest.raises(DestinationError, match="part-00001"):
        verify(to)


def test_a_damaged_version_is_published_again(world: World, place: Place) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    objects.delete([at(to).join("versions", run_id, f"part-00001-{run_id[:8]}.parquet")])
    report = embed(world.job(to))
    assert (report.published, hashes(to)) == (True, world.expected)
    verify(to)


def test_old_versions_go_and_readers_of_the_last_are_given_time(world: World, place: Place) -> None:
    to = place()
    for seed in range(3):
        embed(world.job(to, source=add_file(world, at(place()), seed=seed), keep=1, grace="0s"))
    assert len(open_destination(to).run_ids()) == 1
    embed(world.job(to, keep=1, grace="1h"))
    assert len(open_destination(to).run_ids()) == 2
    verify(to)


def test_a_server_that_is_gone_in_mid_run_is_one_clear_message_and_a_rerun_goes_on(
    world: World, place: Place, server: StoreServer, impatient: None
) -> None:
    to = place()

    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        yield function(shards[0])
        server.stop_gateway()
        yield function(shards[1])

    try:
        with pytest.raises(PublishError, match=r"cannot be reached.*untouched$"):
            embed(world.job(to), map_shards=mapped)
    finally:
        server.start_gateway()
    report = embed(world.job(to))
    assert (report.resumed, report.computed, hashes(to)) == (1, 2, world.expected)


def test_a_server_that_comes_back_is_waited_for(
    world: World, place: Place, server: StoreServer
) -> None:
    to = place()

    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        yield function(shards[0])
        server.stop_gateway()
        timer = threading.Timer(0.7, server.start_gateway)
        timer.start()
        yield from [function(shard) for shard in shards[1:]]
        timer.join()

    assert embed(world.job(to), map_shards=mapped).computed == 3
    assert hashes(to) == world.expected


def test_refused_credentials_are_told_without_a_secret(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-CANARY")
    with pytest.raises(DataError, match=r"access to s3://lake/world/table was refused") as caught:
        open_source(world.stored_source)
    with pytest.raises(PublishError, match=r"access to .* was refused \(403 SignatureDoesNotMatch"):
        open_destination(to, create=True)
    with pytest.raises(BundleError, match="refused"):
        embed(world.job(to))
    assert "CANARY" not in str(caught.value)


def test_a_missing_bucket_is_named(world: World, place: Place) -> None:
    place()
    with pytest.raises(PublishError, match="there is no bucket no-such at 127"):
        embed(world.job("s3://no-such/to"))
    with pytest.raises(DataError, match="there is no bucket no-such at 127"):
        open_source("s3://no-such/table")


def test_an_unreachable_server_is_told_as_such(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    place()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 cannot be reached"):
        open_source(world.stored_source)


def test_foreign_prefixes_and_newer_formats_are_refused(world: World, place: Place) -> None:
    foreign, newer = place(), place()
    objects.write(at(foreign).join("thesis.txt"), b"years of work")
    with pytest.raises(DestinationError, match="choose another folder"):
        embed(world.job(foreign))
    assert names(foreign) == ["thesis.txt"]
    objects.write(at(newer).join("_parquet2vec.json"), b'{"format": 99}')
    with pytest.raises(DestinationError, match="format 99"):
        embed(world.job(newer))
    with pytest.raises(DestinationError, match="does not exist"):
        open_destination(place())


def test_a_store_that_replaces_what_it_should_refuse_is_not_written_to(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = place()

    def create(location: S3Location, data: bytes) -> bool:
        objects.write(location, data)
        return True

    monkeypatch.setattr(objects, "create", create)
    with pytest.raises(PublishError, match="creates an object only once"):
        embed(world.job(to))
    assert names(to) == ["_parquet2vec.json"]


def test_an_object_replaced_while_it_is_read_stops_the_run(world: World, place: Place) -> None:
    table, to = place(), place()
    put(world.source, at(table))
    victim = sorted(names(table))[1]

    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        for shard in shards:
            yield function(shard)
            other = world.source / sorted(p.name for p in world.source.iterdir())[2]
            objects.write(at(table).join(victim), other.read_bytes())

    with pytest.raises(DataError, match=f"{victim} changed while it was read"):
        embed(world.job(to, source=table), map_shards=mapped)


def test_a_single_object_and_keys_with_spaces_and_signs(world: World, place: Place) -> None:
    table, to = at(place()).join("a b"), at(place()).join("Ø ☃", "to")
    folder = table.join("ü=%2F+", "day=01")
    for index, path in enumerate(sorted(world.source.iterdir())[:2]):
        objects.write(folder.join(f"f {index}.parquet"), path.read_bytes())
    objects.write(folder.join("notes.txt"), b"x")
    objects.write(folder.join("_hidden.parquet"), b"x")
    source = open_source(str(table))
    assert (len(source.files), source.skipped) == (2, ("ü=%2F+/day=01/notes.txt",))
    assert source.files[0].partitions == (("ü", "/+"), ("day", "01"))
    assert embed(world.job(str(to), source=str(table))).rows == source.rows
    single = table.join("one.parquet")
    objects.copy(folder.join("f 0.parquet"), single)
    assert embed(world.job(place(), source=str(single))).parts == 1


def test_a_damaged_bundle_is_refused(world: World, place: Place) -> None:
    bundle = at(place())
    put(world.bundle, bundle)
    data = bytearray(objects.read(bundle.join("core.onnx")))
    data[len(data) // 2] ^= 1
    objects.write(bundle.join("core.onnx"), bytes(data))
    with pytest.raises(BundleError, match=r"s3://.*core\.onnx is damaged"):
        embed(world.job(place(), bundle=str(bundle)))
    with pytest.raises(BundleError, match=r"found no manifest\.json"):
        embed(world.job(place(), bundle=place()))


def test_no_secret_is_in_what_travels_or_stays(
    world: World, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to, plans = place(), []
    original = ShardPlan.__init__

    def remember(self: ShardPlan, **fields: object) -> None:
        original(self, **fields)  # type: ignore[arg-type]
        plans.append(repr(self))

    monkeypatch.setattr(ShardPlan, "__init__", remember)
    said = embed(world.job(to)).model_dump_json()
    everything = [content(f"{to}/{name}") for name in names(to)]
    everything += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert plans
    assert not any(SECRET_KEY in text for text in [said, *plans])
    assert not any(SECRET_KEY.encode() in data for data in everything)


def test_nothing_is_left_in_the_folder_for_temporary_files(
    world: World, place: Place, tmp_path: Path
) -> None:
    to = place()
    with pytest.raises(KeyboardInterrupt):
        embed(world.job(to), map_shards=stopping_after(1))
    embed(world.job(to))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_manifest_says_the_entity_tags_of_its_inputs(world: World, place: Place) -> None:
    to = place()
    run_id = embed(world.job(to)).run_id
    manifest = json.loads(content(f"{to}/versions/{run_id}/_manifest.json"))
    tags = [file.file.etag for file in open_source(world.stored_source).files]
    assert [entry[2] for entry in manifest["inputs"]] == tags


def test_a_pinned_pointer_stays(world: World, place: Place) -> None:
    to = place()
    first = embed(world.job(to)).run_id
    destination = open_destination(to)
    destination.point(Pointer(run_id=first, pinned=True))
    report = embed(world.job(to, source=add_file(world, at(place()), seed=3)))
    assert report.pinned
    assert open_destination(to).pointer == Pointer(run_id=first, pinned=True)


def test_rows_of_a_store_are_read_once_each(world: World, place: Place) -> None:
    to = place()
    embed(world.job(to))
    rows = sum(pq.read_metadata(world.source / p.name).num_rows for p in world.source.iterdir())
    assert rows == SMALL.rows == open_destination(to).published()[0].rows
