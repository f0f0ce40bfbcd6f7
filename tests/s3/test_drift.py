"""Profiles and what is found of drift, in a store as on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stand.world import Place, World, names

from pipeline import MonitorJob, embed, monitor, objects, verify
from pipeline.destinations import open_destination
from pipeline.drift_notes import notes
from pipeline.errors import DestinationError
from pipeline.locations import S3Location, locate
from pipeline.profile import RUN_PROFILE


def at(url: str) -> S3Location:
    location = locate(url)
    assert isinstance(location, S3Location)
    return location


def test_a_profile_is_that_of_a_disk_and_drift_is_noted_in_the_store(
    world: World, place: Place, tmp_path: Path
) -> None:
    to = place()
    first = embed(world.job(to, source=str(world.source)))
    local = embed(world.job(tmp_path / "to", bundle=str(world.bundle), source=str(world.source)))
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
    embed(world.job(to, source=str(more)))
    found = monitor(MonitorJob(destination=to))
    assert found.drifted
    assert found.previous == first.run_id
    assert name in {column.name for column in found.columns if column.drifted}


def test_a_damaged_profile_in_a_store_is_told(world: World, place: Place) -> None:
    to = place()
    report = embed(world.job(to))
    objects.write(at(to).join("versions", report.run_id, RUN_PROFILE), b"{}")
    with pytest.raises(DestinationError, match=RUN_PROFILE):
        verify(to)
    with pytest.raises(DestinationError, match="as it was sealed"):
        monitor(MonitorJob(destination=to))


def test_a_damaged_note_in_a_store_is_told_and_not_counted(world: World, place: Place) -> None:
    to = place()
    embed(world.job(to))
    run_id = monitor(MonitorJob(destination=to)).run_id
    note = at(to).join("_drift", f"{run_id}.json")
    objects.write(note, objects.read(note).replace(b'"drifted":false', b'"drifted":true ', 1))
    assert not notes(open_destination(to))
    with pytest.raises(DestinationError, match=f"_drift/{run_id}.json"):
        verify(to)
    monitor(MonitorJob(destination=to))
    verify(to)
