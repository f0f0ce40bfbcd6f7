"""Readers of `current` while runs publish: one version whole or an error, never a mix.

They are the readers that people use, over a table of many parts, and the pointer moves meanwhile.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.disk_destination import DiskDestination
from pipeline.publishing import FORMAT, PartReport, Pointer, VersionManifest
from pipeline.resolution import resolve
from pipeline.retention import keep_last
from pipeline.storage import sha256_of

PARTS = 12
Reader = Callable[[Path], pa.Table]


def publish(root: Path, run_id: str, *, grace: str = "15m") -> None:
    """A version of many parts, every row of which says whose it is; only one version is kept."""
    destination = DiskDestination.open(root, create=True)
    with destination.locked():
        stage, parts = destination.stage(run_id), list[PartReport]()
        for index in range(PARTS):
            name = f"part-{index:05d}-{run_id}.parquet"
            scratch = stage.scratch(name)
            pq.write_table(pa.table({"run": [run_id], "part": [index]}), scratch)
            report = PartReport(
                name=name,
                rows=1,
                bytes=scratch.stat().st_size,
                sha256=sha256_of(scratch),
                work=name,
                source="",
                row_groups=(0,),
            )
            parts.append(stage.finish(scratch, report))
        manifest = VersionManifest(
            format=FORMAT,
            run_id=run_id,
            model="",
            rows=PARTS,
            options={},
            source="",
            inputs=(),
            files=tuple(parts),
            versions={},
            published=run_id,
        )
        destination.commit(stage, manifest)
        destination.point(Pointer(run_id=run_id))
        destination.sweep()
        keep_last(destination, 1, grace=grace)


def concatenated(paths: Iterable[str | Path]) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths])


def by_dataset(root: Path) -> pa.Table:
    return ds.dataset(root / "current").to_table()


def by_names(root: Path) -> pa.Table:
    return concatenated(sorted((root / "current").glob("*.parquet")))


def by_pandas(root: Path) -> pa.Table:
    return pa.Table.from_pandas(pd.read_parquet(root / "current"))


def by_polars(root: Path) -> pa.Table:
    return pl.read_parquet(root / "current" / "*.parquet").to_arrow()


def by_duckdb(root: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(f"from read_parquet('{root}/current/*.parquet')").to_arrow_table()


def by_resolve(root: Path) -> pa.Table:
    return ds.dataset(list(resolve(root).files)).to_table()


def by_folder(root: Path) -> pa.Table:
    """What `current` leads to, looked up once."""
    return ds.dataset((root / "current").resolve()).to_table()


# How a file that is gone, or a folder in which none is left, is told: by Arrow, Polars, DuckDB.
GONE = ("No such file", "expanded paths were empty", "No files found that match the pattern")


def outcome(reader: Reader, root: Path) -> str:
    """What came of one reading."""
    try:
        found = reader(root)
    except Exception as error:
        is_gone = any(words in str(error) for words in GONE)
        return "gone" if is_gone else f"{type(error).__name__}: {error}"
    if found.num_columns == 0:
        return "no table"
    whole = found.num_rows == PARTS and len(set(found["run"].to_pylist())) == 1
    return "whole" if whole else f"mixed: {sorted(found['run'].to_pylist())}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "to", "a")
    return tmp_path / "to"


# ---------------------------------------------------------------------------- at every moment


@pytest.mark.parametrize("at", range(PARTS))
def test_a_pointer_that_moves_between_two_files_is_told(root: Path, at: int) -> None:
    paths = sorted((root / "current").glob("*.parquet"))
    for path in paths[:at]:
        pq.read_table(path)
    publish(root, "b")
    with pytest.raises(FileNotFoundError):
        pq.read_table(paths[at])


def test_a_dataset_listed_before_the_move_is_told(root: Path) -> None:
    dataset = ds.dataset(root / "current")
    publish(root, "b")
    with pytest.raises(FileNotFoundError):
        dataset.to_table()


def test_a_lazy_frame_is_told_or_sees_the_new_version(root: Path) -> None:
    frame = pl.scan_parquet(root / "current" / "*.parquet")
    assert frame.collect_schema().names() == ["run", "part"]
    publish(root, "b")
    assert outcome(lambda _: frame.collect().to_arrow(), root) in ("whole", "gone")


def test_parts_taken_over_from_the_version_before_have_names_of_their_own(root: Path) -> None:
    paths = sorted((root / "current").glob("*.parquet"))
    destination = DiskDestination.open(root)
    older = destination.manifest("a")
    stage = destination.stage("b")
    taken = [
        stage.reuse(part, name=part.name.replace("-a.", "-b."), run_id="a") for part in older.files
    ]
    files = tuple(part for part in taken if part is not None)
    destination.commit(stage, older.model_copy(update={"run_id": "b", "files": files}))
    destination.point(Pointer(run_id="b"))
    assert by_dataset(root).num_rows == PARTS
    with pytest.raises(FileNotFoundError):
        concatenated(paths)


def test_readers_through_resolve_never_notice(root: Path) -> None:
    files = resolve(root).files
    first = concatenated(files[:5])
    for run_id in ("b", "c", "d"):
        publish(root, run_id)
    found = pa.concat_tables([first, concatenated(files[5:])])
    assert found["run"].to_pylist() == ["a"] * PARTS


def test_when_their_time_is_over_readers_through_resolve_are_told(root: Path) -> None:
    files = resolve(root).files
    publish(root, "b", grace="0s")
    with pytest.raises(FileNotFoundError):
        concatenated(files)


# ---------------------------------------------------------------------------- at random moments

# What may come of it. Arrow lists the folder, then looks at every file in it and leaves out what is
# gone: a move between the two gives a table without columns, which is no mix, and no error either.
READERS: dict[Reader, set[str]] = {
    by_dataset: {"whole", "gone", "no table"},
    by_pandas: {"whole", "gone", "no table"},
    by_names: {"whole", "gone"},
    by_polars: {"whole", "gone"},
    by_duckdb: {"whole", "gone"},
    by_resolve: {"whole"},
    by_folder: {"whole"},
}


@pytest.fixture
def restless(root: Path) -> Iterator[Path]:
    """A destination to which another process publishes without a pause."""
    script = (
        "import importlib.util, itertools, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('readers', {__file__!r})\n"
        "readers = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(readers)\n"
        "for number in itertools.count():\n"
        f"    readers.publish(pathlib.Path({str(root)!r}), f'run{{number:06d}}', grace='30s')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as publishing:
        while resolve(root).run_id == "a":
            assert publishing.poll() is None
            time.sleep(0.01)
        yield root
        assert publishing.poll() is None
        publishing.kill()


def outcomes(reader: Reader, root: Path, *, seconds: float) -> Counter[str]:
    """What comes of reading again and again."""
    found, end = Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        found[outcome(reader, root)] += 1
    return found


def test_readers_see_one_version_or_an_error(restless: Path) -> None:
    for reader, expected in READERS.items():
        found = outcomes(reader, restless, seconds=0.4)
        assert found["whole"] > 0
        assert set(found) <= expected, reader.__name__


@pytest.mark.chaos
@pytest.mark.parametrize("reader", READERS)
def test_readers_see_one_version_or_an_error_for_a_long_time(
    restless: Path, reader: Reader
) -> None:
    found = outcomes(reader, restless, seconds=20)
    print(f"{reader.__name__}: {dict(found)}")
    assert set(found) <= READERS[reader]
