"""Anchors measured by several processes share the images that they train on."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import classics_images
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

IMAGES = 2_100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        pixels = pa.array(random.integers(0, 256, IMAGES * 784, np.uint8))
        column = pa.FixedSizeListArray.from_arrays(pixels, 784).cast(pa.list_(pa.uint8()))
        table = pa.table({"pixels": column, "label": random.integers(0, 10, IMAGES)})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    return tmp_path


def test_two_processes_make_the_same_images_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads with a process number each, which all find nothing there and then write."""
    together, numbers = Barrier(2), iter(range(100))
    append = classics_images.MatrixWriter.append

    def slow(writer: object, *given: object, **named: object) -> None:
        together.wait(30)
        append(writer, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(classics_images.MatrixWriter, "append", slow)
    monkeypatch.setattr(os, "getpid", lambda: next(numbers))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(classics_images.grey, folder, tmp_path / "work") for _ in range(2)]
        first, second = (run.result() for run in runs)
    assert np.array_equal(first.matrix.numeric, second.matrix.numeric)
    assert sorted(path.name for path in (tmp_path / "work/grey").iterdir()) == [
        "rows", "train.parquet"
    ]  # fmt: skip


def test_images_that_are_half_made_are_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(classics_images.MatrixWriter, "append", killed)
        classics_images.grey(folder, tmp_path / "work")
    assert len(classics_images.grey(folder, tmp_path / "work").matrix.split) == IMAGES
