"""No run id, link, or partition value leads out of a destination."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pipeline
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob
from pipeline.disk_destination import DiskDestination
from pipeline.errors import Parquet2VecError

RUN_IDS = st.one_of(
    st.text(max_size=70),
    st.lists(st.sampled_from(["..", ".", "", "outside", "versions", "a", "\\"])).map("/".join),
)
# A file name cannot hold a slash, and Hive writes it like this.
VALUES = ["..", "%2e%2e%2f%2e%2e%2foutside", "%2Fetc%2Fpasswd", "%5c..%5c", "a%00b", "%0a"]


@pytest.fixture(scope="module")
def destination(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, table: pa.Table
) -> DiskDestination:
    """A destination with one version, beside a whole one that nothing may lead to."""
    folder = tmp_path_factory.mktemp("escapes")
    pq.write_table(table, folder / "table.parquet")
    root = folder / "vectors"
    job = EmbeddingJob(
        bundle=str(bundle.path), source=str(folder / "table.parquet"), destination=str(root)
    )
    pipeline.embed(job)
    shutil.copytree(root, folder / "outside", symlinks=True)
    return DiskDestination.open(root)


def inside(destination: DiskDestination, files: tuple[str, ...]) -> bool:
    versions = (destination.root / "versions").resolve()
    return all(Path(file).resolve().is_relative_to(versions) for file in files)


@given(RUN_IDS)
@example("../../outside/versions")
@example("..")
def test_no_run_id_leads_out_of_the_destination(destination: DiskDestination, run: str) -> None:
    (known,) = destination.run_ids()
    for name in (run, f"{run}/{known}", f"../../outside/versions/{known}", f"{known}/../{known}"):
        assert not destination.has(name) or name == known
        for ask in (pipeline.resolve, pipeline.rollback):
            try:
                told = ask(destination.path, name)
            except Parquet2VecError:
                continue
            assert told.run_id == known
    assert inside(destination, pipeline.resolve(destination.path).files)


@pytest.mark.parametrize(
    "target",
    ["../outside/versions/{}", "versions/../../outside/versions/{}", "versions/..", "/", "{}", "."],
)
def test_a_pointer_that_leads_out_leads_nowhere(
    destination: DiskDestination, target: str, tmp_path: Path
) -> None:
    root = tmp_path / "vectors"
    shutil.copytree(destination.root, root, symlinks=True)
    (known,) = destination.run_ids()
    (root / "current").unlink()
    (root / "current").symlink_to(target.format(known))
    assert DiskDestination.open(root).pointer is None
    with pytest.raises(Parquet2VecError, match="current version"):
        pipeline.resolve(root)


@pytest.mark.parametrize("value", VALUES)
def test_a_partition_value_is_text_and_no_path(
    value: str, bundle: Bundle, make_table: Callable[..., pa.Table], tmp_path: Path
) -> None:
    folder = tmp_path / "table" / f"part={value}"
    folder.mkdir(parents=True)
    pq.write_table(make_table(20), folder / "rows.parquet")
    root = tmp_path / "vectors"
    before = {path for path in tmp_path.rglob("*") if root not in path.parents}
    job = EmbeddingJob(
        bundle=str(bundle.path), source=str(tmp_path / "table"), destination=str(root)
    )
    pipeline.embed(job)
    after = {path for path in tmp_path.rglob("*") if root not in path.parents}
    assert after - before == {root}
    (part,) = pipeline.resolve(root).files
    assert Path(part).parent.parent == root / "versions"
    assert inside(DiskDestination.open(root), (part,))
