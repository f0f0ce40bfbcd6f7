"""Profiles and what is found of drift, in a store as on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stand.world import Place, World, names

from pipeline import Bundle, Encoder, MonitorJob, embed, monitor, objects, verify
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError
from pipeline.locations import S3Location, locate
from pipeline.profile import RUN_PROFILE, TRAINING_PROFILE
from pipeline.profiling import Sample, places_of, profile_of, things_of


@pytest.fixture
def model(world: World, tmp_path: Path) -> str:
    """The world's bundle with the profile of the world's table, in blocks of 60 rows."""
    bundle = Bundle.open(world.bundle)
    encoder, samples = Encoder(bundle), []
    for batch in pq.read_table(world.source).combine_chunks().to_batches(max_chunksize=60):
        inputs = encoder.inputs(batch)
        sample = Sample(places_of(batch.num_rows, batch.num_rows))
        sample.add(inputs, encoder.encode_inputs(inputs), None)
        samples.append(sample)
    things = things_of(encoder.schema, dim=encoder.dim, scored=False)
    profile = profile_of(samples, things, labels={}, rows=600).to_bytes()
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    path = tmp_path / "model"
    Bundle.write(path, manifest=bundle.manifest, files=files | {TRAINING_PROFILE: profile})
    return str(path)


def at(url: str) -> S3Location:
    location = locate(url)
    assert isinstance(location, S3Location)
    return location


def test_a_profile_is_that_of_a_disk_and_drift_is_noted_in_the_store(
    world: World, place: Place, model: str, tmp_path: Path
) -> None:
    to = place()
    first = embed(world.job(to, bundle=model, source=str(world.source)))
    local = embed(world.job(tmp_path / "to", bundle=model, source=str(world.source)))
    profiles = [
        open_destination(path).profile(report.run_id)
        for path, report in ((to, first), (tmp_path / "to", local))
    ]
    assert profiles[0] is not None
    assert profiles[0] == profiles[1]
    verify(to)
    calm = monitor(MonitorJob(destination=to))
    assert (calm.drifted, calm.previous) == (False, None)
    assert [n for n in names(to) if n.startswith("_drift")] == [
        f"_drift/{first.run_id}.json",
        f"_drift/{first.run_id}.svg",
    ]
    more = tmp_path / "more"
    shutil.copytree(world.source, more)
    table = pq.read_table(next(iter(more.glob("*.parquet"))))
    name = next(f.name for f in table.schema if pa.types.is_floating(f.type))
    place_of = table.column_names.index(name)
    nothing = pa.nulls(table.num_rows, table.schema.field(name).type)
    pq.write_table(table.set_column(place_of, name, nothing), more / "zz-broken.parquet")
    embed(world.job(to, bundle=model, source=str(more)))
    found = monitor(MonitorJob(destination=to))
    assert found.drifted
    assert found.previous == first.run_id
    assert name in {column.name for column in found.columns if column.drifted}


def test_a_damaged_profile_in_a_store_is_told(world: World, place: Place, model: str) -> None:
    to = place()
    report = embed(world.job(to, bundle=model))
    objects.write(at(to).join("versions", report.run_id, RUN_PROFILE), b"{}")
    with pytest.raises(DestinationError, match=RUN_PROFILE):
        verify(to)
    with pytest.raises(DestinationError, match="as it was sealed"):
        monitor(MonitorJob(destination=to))
