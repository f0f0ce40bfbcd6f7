"""One bit turns in what we published: no use of it takes it for intact."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import tree
from harness.bundles import BundleWorld
from harness.process import KILLED, Processes
from harness.reference import World, make_world
from harness.shim import WATCH, Kind, Mode, Plan
from harness.size import seeded, sizes
from harness.trial import DiskStore, Tally, require_rerun_completes

from pipeline import Bundle, MonitorJob, monitor, verify
from pipeline.destinations import open_destination
from pipeline.drift_notes import notes
from pipeline.errors import BundleError, DestinationError
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import DRIFT
from pipeline.registries import open_registry

SETTINGS = (
    {"vector": "fixed", "dtype": "float32"},
    {"vector": "fixed", "dtype": "float16"},
    {"vector": "list", "dtype": "float32"},
    {"vector": "wide", "dtype": "float32"},
)


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda s: f"{s['vector']}-{s['dtype']}")
def published(
    request: pytest.FixtureRequest, scratch: Path, tmp_path_factory: pytest.TempPathFactory
) -> World:
    """A world whose outputs have this setting; its destination is at `reference`, monitored."""
    world = make_world(scratch / tmp_path_factory.mktemp("flips").name, **request.param)
    monitor(MonitorJob(destination=str(reference(world))))
    return world


def reference(world: World) -> Path:
    return world.bundle.parent / "reference"


@dataclass(frozen=True)
class Flip:
    """A turned bit, and the file before."""

    path: Path
    at: int
    before: bytes

    @property
    def after(self) -> bytes:
        changed = bytearray(self.before)
        changed[self.at // 8] ^= 1 << self.at % 8
        return bytes(changed)

    def __str__(self) -> str:
        return f"bit {self.at} of {self.path.name}"


def flips(files: list[Path], chance: Random, size: int) -> Iterator[Flip]:
    """Turned bits in all files, as many in each."""
    contents = {path: path.read_bytes() for path in sorted(files)}
    for path in chance.choices(list(contents), k=size):
        yield Flip(path, chance.randrange(8 * len(contents[path])), contents[path])


def silent(flip: Flip, notices: Callable[[], object], error: type[Exception]) -> bool:
    """Whether a turned bit on disk goes unnoticed, or is told without the name of its file.

    The file is as it was afterwards.
    """
    flip.path.write_bytes(flip.after)
    try:
        notices()
    except error as told:
        return flip.path.name not in str(told)
    finally:
        flip.path.write_bytes(flip.before)
    return True


@sizes(50, 1000)
def test_a_flip_in_a_published_file_is_found_by_verify(
    published: World, figure: Callable[[object], None], size: int
) -> None:
    destination = reference(published)
    chance, files = seeded("verify"), list((destination / "current").resolve().iterdir())
    files += (destination / DRIFT).glob("*.json")
    missed = [
        str(flip)
        for flip in flips(files, chance, size)
        if silent(flip, lambda: verify(destination), DestinationError)
    ]
    figure(f"{size} flips, {len(missed)} silent")
    assert not missed
    verify(destination)


def pages(content: bytes) -> list[range]:
    """The bytes of each column chunk: pages with their headers."""
    found, metadata = [], pq.read_metadata(pa.BufferReader(content))
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
            found.append(range(start, start + chunk.total_compressed_size))
    return found


@sizes(100, 1000)
def test_a_flip_in_a_page_never_reads_as_other_values(
    published: World, figure: Callable[[object], None], size: int
) -> None:
    chance, wrong, harmless = seeded("pages"), [], 0
    parts = list((reference(published) / "current").glob("*.parquet"))
    whole = {path: (path.read_bytes(), pq.read_table(path)) for path in parts}
    for _ in range(size):
        path = chance.choice(parts)
        content, rows = whole[path]
        flip = Flip(path, 8 * chance.choice(chance.choice(pages(content))), content)
        try:
            found = pq.read_table(pa.BufferReader(flip.after), page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            continue
        harmless += found.equals(rows)
        wrong += [] if found.equals(rows) else [str(flip)]
    figure(f"{size} flips, {len(wrong)} read as other values, {harmless} without effect")
    assert not wrong


@sizes(20, 200)
def test_a_flip_in_what_monitor_reads_is_told_or_left_out(
    published: World, figure: Callable[[object], None], size: int
) -> None:
    destination, job = reference(published), MonitorJob(destination=str(reference(published)))
    calm, chance, missed = monitor(job), seeded("monitor"), list[str]()
    (note,) = (destination / DRIFT).glob("*.json")
    for flip in flips([destination / "current" / RUN_PROFILE], chance, size):
        missed += [str(flip)] if silent(flip, lambda: monitor(job), DestinationError) else []
    whole = notes(open_destination(destination))
    for flip in flips([note], chance, size):
        flip.path.write_bytes(flip.after)
        missed += [str(flip)] if notes(open_destination(destination)) else []
        flip.path.write_bytes(flip.before)
    figure(f"{2 * size} flips, {len(missed)} silent")
    assert not missed
    assert (monitor(job), len(whole)) == (calm, 1)


@sizes(12, 250)
def test_a_flip_in_a_staged_part_or_its_note_is_never_published(
    processes: Processes,
    published: World,
    place: Callable[[], Path],
    figure: Callable[[object], None],
    size: int,
) -> None:
    store, chance = DiskStore(published, place), seeded("staged")
    stopped = tree.load(Path(killed_before_the_commit(processes, store)))
    files = [name for name, entry in stopped.items() if isinstance(entry, bytes)]
    staged = [name for name in files if name.startswith("_stage/")]
    assert {".parquet", ".json"} == {Path(name).suffix for name in staged}
    tally = Tally(published)
    for _ in range(size):
        name = chance.choice(staged)
        content = stopped[name]
        assert isinstance(content, bytes)
        flip = Flip(Path(name), chance.randrange(8 * len(content)), content)
        to = str(tree.save({**stopped, name: flip.after}, place()))
        with tally.trial(flip):
            require_rerun_completes(processes, store, to)
        store.drop(to)
    figure(f"{size} flips in {len(staged)} staged files, {len(tally.bad)} silent")
    tally.require_none_bad()


def killed_before_the_commit(processes: Processes, store: DiskStore) -> str:
    """A destination where all parts are staged and nothing is published yet."""
    to = store.fresh()
    whole = processes.run(*store.world.argv(to), roots=store.watched(to), plan=WATCH, log=True)
    renames = [line for line in whole.log.split(b"\n") if line.startswith(b"rename\t")]
    commit = next(i for i, line in enumerate(renames, 1) if b"/versions/" in line.split(b"\t")[4])
    store.drop(to)
    to, plan = store.fresh(), Plan(Mode.KILL_BEFORE, Kind.RENAME, commit)
    ended = processes.run(*store.world.argv(to), roots=store.watched(to), plan=plan)
    assert ended.code == KILLED, ended
    return to


@sizes(100, 1000)
def test_a_flip_in_a_bundle_is_found_when_it_opens(
    world: World, figure: Callable[[object], None], size: int
) -> None:
    files, chance = list(world.bundle.iterdir()), seeded("bundle")
    missed = [
        str(flip)
        for flip in flips(files, chance, size)
        if silent(flip, lambda: Bundle.open(world.bundle), BundleError)
    ]
    figure(f"{size} flips in {len(files)} files, {len(missed)} silent")
    assert not missed
    Bundle.open(world.bundle)


@sizes(60, 1000)
def test_a_flip_in_a_registry_is_told_or_changes_no_answer(
    models: BundleWorld, place: Callable[[], Path], figure: Callable[[object], None], size: int
) -> None:
    folder = tree.save(models.before, place())
    registry = open_registry(folder)

    def answers() -> tuple[object, ...]:
        pointer, opened = registry.alias("production"), Bundle.open(folder / "production")
        assert pointer is not None
        lineages = map(registry.lineage, registry.versions())
        return (pointer.run_id, opened.fingerprint, *sorted(map(str, lineages)))

    whole, told, wrong = answers(), 0, list[str]()
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    for flip in flips(files, seeded("registry"), size):
        flip.path.write_bytes(flip.after)
        try:
            # A lineage that was changed is none.
            wrong += [] if {*answers()} <= {*whole, "None"} else [str(flip)]
        except BundleError as error:
            told += 1
            wrong += [] if flip.path.name in str(error) else [f"{flip}: {error}"]
        flip.path.write_bytes(flip.before)
    figure(f"{size} flips in {len(files)} files, {told} told, {len(wrong)} wrong answers")
    assert not wrong
    assert told
    assert answers() == whole
