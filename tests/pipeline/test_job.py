import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, Encoder, embed, verify
from pipeline.budget import Budget
from pipeline.destinations import open_destination
from pipeline.errors import (
    BundleError,
    ConfigError,
    DataError,
    DestinationError,
    LockedError,
    SchemaError,
)
from pipeline.publishing import PartReport, Pointer
from pipeline.shards import Shard
from pipeline.version_making import MapShards, ShardFunction


def job(bundle: Bundle, source: Path, to: Path, **options: object) -> EmbeddingJob:
    known = {"bundle": str(bundle.path), "source": str(source), "destination": str(to)}
    return EmbeddingJob.model_validate(known | options)


def read(destination: Path) -> pa.Table:
    return pq.read_table(destination / "current", page_checksum_verification=True)


def hashes(destination: Path) -> dict[str, str]:
    parts = sorted((destination / "current").glob("*.parquet"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in parts}


def test_rows_come_out_in_order_with_their_keys_untouched(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    report = embed(job(bundle, source, tmp_path / "to"))
    found, rows = read(tmp_path / "to"), pq.read_table(source)
    assert found.column_names == ["id", "at", "embedding"]
    assert found["id"].equals(rows["id"])
    assert found["at"].equals(rows["at"])
    vectors = found["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    np.testing.assert_array_equal(vectors, Encoder.open(bundle.path).transform(rows))
    assert (report.rows, report.parts, report.computed, report.published) == (3_000, 3, 3, True)


def test_the_same_work_again_computes_nothing(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    first = embed(job(bundle, source, tmp_path / "to"))
    before = hashes(tmp_path / "to")
    again = embed(job(bundle, source, tmp_path / "to"))
    assert (again.run_id, again.published, again.computed) == (first.run_id, False, 0)
    assert hashes(tmp_path / "to") == before


def test_a_rerun_repairs_the_pointer(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    (tmp_path / "to/current").unlink()
    embed(job(bundle, source, tmp_path / "to"))
    assert read(tmp_path / "to").num_rows == 3_000


@pytest.mark.parametrize("rows", [256, 999, 65_536])
def test_bytes_do_not_depend_on_the_batches(
    bundle: Bundle, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    embed(job(bundle, source, tmp_path / "a"))
    monkeypatch.setattr("pipeline.budget.plan", lambda *_: Budget(2, rows))
    embed(job(bundle, source, tmp_path / "b"))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


@pytest.mark.parametrize("options", [{"threads": 3}, {"memory": "3GB"}, {"keep": 1}])
def test_bytes_do_not_depend_on_how_the_work_is_done(
    bundle: Bundle, source: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    embed(job(bundle, source, tmp_path / "a", threads=1))
    embed(job(bundle, source, tmp_path / "b", **options))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def stopping_after(count: int) -> MapShards:
    def mapped(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        for shard in shards[:count]:
            yield function(shard)
        raise KeyboardInterrupt

    return mapped


def test_an_interrupted_run_goes_on_with_its_finished_parts(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    embed(job(bundle, source, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        embed(job(bundle, source, tmp_path / "to"), map_shards=stopping_after(2))
    assert not (tmp_path / "to/current").exists()
    report = embed(job(bundle, source, tmp_path / "to"))
    assert (report.resumed, report.computed) == (2, 1)
    assert hashes(tmp_path / "to") == hashes(tmp_path / "whole")
    assert list((tmp_path / "to/_stage").iterdir()) == []


def test_a_damaged_finished_part_is_made_again(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    embed(job(bundle, source, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        embed(job(bundle, source, tmp_path / "to"), map_shards=stopping_after(2))
    part = next((tmp_path / "to/_stage").glob("*/part-00000*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    assert embed(job(bundle, source, tmp_path / "to")).computed == 2
    assert hashes(tmp_path / "to") == hashes(tmp_path / "whole")


def test_only_new_files_are_computed(
    bundle: Bundle, source: Path, tmp_path: Path, make_table: object
) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    pq.write_table(make_table(500, seed=9), source / "day-3.parquet")  # type: ignore[operator]
    report = embed(job(bundle, source, tmp_path / "to"))
    assert (report.reused, report.computed, report.rows) == (3, 1, 3_500)
    assert read(tmp_path / "to").num_rows == 3_500
    verify(tmp_path / "to")


def test_a_vanished_file_vanishes_from_the_table(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    (source / "day-0.parquet").unlink()
    report = embed(job(bundle, source, tmp_path / "to"))
    assert (report.reused, report.computed, read(tmp_path / "to").num_rows) == (2, 0, 2_000)


def test_only_the_last_versions_are_kept(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    for stamp in range(4):
        os.utime(source / "day-0.parquet", ns=(stamp, stamp))
        last = embed(job(bundle, source, tmp_path / "to", keep=2, grace="0s"))
    destination = open_destination(tmp_path / "to")
    assert len(destination.published()) == 2
    assert destination.pointer == Pointer(run_id=last.run_id)


@pytest.mark.parametrize(
    ("options", "type_"),
    [
        ({}, pa.list_(pa.float32(), 4)),
        ({"dtype": "float16"}, pa.list_(pa.float16(), 4)),
        ({"vector": "list"}, pa.list_(pa.float32())),
    ],
)
def test_the_vector_column_has_the_type_that_was_asked_for(
    bundle: Bundle, source: Path, tmp_path: Path, options: dict[str, object], type_: pa.DataType
) -> None:
    embed(job(bundle, source, tmp_path / "to", **options))
    found = read(tmp_path / "to")
    assert found.schema.field("embedding").type == type_
    flat = found["embedding"].combine_chunks().flatten().to_numpy().astype(np.float32)
    expected = Encoder.open(bundle.path).transform(pq.read_table(source))
    np.testing.assert_allclose(flat.reshape(-1, 4), expected, rtol=2e-3, atol=1e-3)


def test_a_wide_table_has_one_column_per_dimension(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    embed(job(bundle, source, tmp_path / "to", vector="wide"))
    assert read(tmp_path / "to").column_names == ["id", "at", *(f"embedding_{i}" for i in range(4))]


def test_every_part_names_its_model(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    metadata = read(tmp_path / "to").schema.metadata
    assert json.loads(metadata[b"parquet2vec"]) == {"model": bundle.fingerprint, "dim": 4}


def test_a_table_without_rows_is_published_with_its_schema(
    bundle: Bundle, tmp_path: Path, table: pa.Table
) -> None:
    pq.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    assert embed(job(bundle, tmp_path / "none.parquet", tmp_path / "to")).rows == 0
    assert read(tmp_path / "to").column_names == ["id", "at", "embedding"]


def test_a_changed_type_is_refused_before_anything_is_written(
    bundle: Bundle, source: Path, tmp_path: Path, table: pa.Table
) -> None:
    place = table.column_names.index("amount")
    wrong = table.set_column(place, "amount", table["amount"].cast(pa.string()))
    pq.write_table(wrong, source / "day-9.parquet")
    with pytest.raises(SchemaError, match=r"'amount' must be number.*found string.*day-9"):
        embed(job(bundle, source, tmp_path / "to"))
    assert not (tmp_path / "to").exists()


def test_a_damaged_page_publishes_nothing(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    rows = pq.read_table(source / "day-2.parquet")
    path = source / "day-2.parquet"
    pq.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"day-2\.parquet cannot be read"):
        embed(job(bundle, source, tmp_path / "to"))
    assert not (tmp_path / "to/current").exists()


def test_a_foreign_folder_is_refused_and_left_alone(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DestinationError, match="choose another folder"):
        embed(job(bundle, source, tmp_path))
    assert not (tmp_path / "versions").exists()


def test_a_newer_destination_is_refused(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    (tmp_path / "to/_parquet2vec.json").write_text('{"format": 99}')
    with pytest.raises(DestinationError, match="format 99"):
        embed(job(bundle, source, tmp_path / "to"))


def test_a_second_run_is_told_that_the_first_holds_the_destination(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    inside, release = threading.Event(), threading.Event()

    def slow(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        inside.set()
        release.wait(30)
        return [function(shard) for shard in shards]

    first = threading.Thread(
        target=embed, args=(job(bundle, source, tmp_path / "to"),), kwargs={"map_shards": slow}
    )
    first.start()
    inside.wait(30)
    try:
        with pytest.raises(LockedError, match="held by another run"):
            embed(job(bundle, source, tmp_path / "to"))
    finally:
        release.set()
        first.join()


def test_scores_need_a_scorer(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no scorer\.onnx"):
        embed(job(bundle, source, tmp_path / "to", scores=True))


def test_a_key_named_like_an_output_is_a_usage_error(
    bundle: Bundle, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = bundle.manifest.feature_schema
    columns = tuple(
        c.model_copy(update={"name": "embedding_1"}) if c.name == "id" else c
        for c in schema.columns
    )
    for file in source.iterdir():
        rows = pq.read_table(file)
        pq.write_table(rows.rename_columns(["embedding_1", *rows.column_names[1:]]), file)
    renamed = bundle.manifest.model_copy(
        update={"feature_schema": schema.model_copy(update={"columns": columns})}
    )
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    other = Bundle.write(tmp_path / "bundle", manifest=renamed, files=files)
    with pytest.raises(ConfigError, match="embedding_1 is also a key"):
        embed(job(other, source, tmp_path / "to", vector="wide"))


def test_a_flipped_bit_in_a_published_part_is_found(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    embed(job(bundle, source, tmp_path / "to"))
    assert verify(tmp_path / "to").files == 3
    part = next((tmp_path / "to/current").glob("part-00001*"))
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    with pytest.raises(DestinationError, match=r"1 damaged or missing.*part-00001"):
        verify(tmp_path / "to")
