from pathlib import Path

import numpy as np
import pytest

from pipeline.prologue import Prepared
from training.matrix import Matrix, MatrixWriter
from training.shuffling import Shuffled


def write(folder, *, rows: int, numbers: int = 3, seed: int = 0) -> Prepared:
    rng = np.random.default_rng(seed)
    prepared = Prepared(
        rng.normal(size=(rows, numbers)).astype(np.float32),
        np.empty((rows, 0), np.float32),
        np.arange(rows)[:, None],
    )
    with MatrixWriter(folder, numbers=numbers, ranks=0, categories=1, labels=1) as writer:
        for first in range(0, rows, 700):
            part = Prepared(*(array[first : first + 700] for array in prepared))
            split = (np.arange(first, first + len(part.codes)) % 10 == 0).astype(np.uint8)
            writer.append(part, split=split, labels=part.codes.astype(float))
    return prepared


def test_what_was_appended_is_read_back(tmp_path):
    prepared = write(tmp_path, rows=2500)
    matrix = Matrix.open(tmp_path)
    assert np.array_equal(matrix.numeric, prepared.numeric)
    assert np.array_equal(matrix.codes, prepared.codes)
    assert matrix.ranked.shape == (2500, 0)


def test_files_are_plain_npy_and_mapped(tmp_path):
    write(tmp_path, rows=100)
    assert isinstance(Matrix.open(tmp_path).numeric, np.memmap)
    assert np.load(tmp_path / "labels.npy").shape == (100, 1)


@pytest.mark.parametrize("rows", [90, 5000, 100_000])
def test_an_epoch_shows_each_training_row_at_most_once(tmp_path, rows):
    write(tmp_path, rows=rows)
    batches = Shuffled(Matrix.open(tmp_path), rows_per_batch=64, seed=1)
    shown = [batches.batch(step).rows.codes[:, 0] for step in range(batches.batches_per_epoch)]
    flat = np.concatenate(shown)
    assert len(np.unique(flat)) == len(flat) > len(batches) - 64
    assert (flat % 10 != 0).all()


def test_a_batch_is_a_function_of_seed_and_step(tmp_path):
    write(tmp_path, rows=70_000)
    matrix = Matrix.open(tmp_path)
    straight = Shuffled(matrix, rows_per_batch=128, seed=1)
    for step in range(1500):
        last = straight.batch(step)
    jumped = Shuffled(matrix, rows_per_batch=128, seed=1).batch(1499)
    assert np.array_equal(last.rows.codes, jumped.rows.codes)


def test_epochs_differ(tmp_path):
    write(tmp_path, rows=2000)
    batches = Shuffled(Matrix.open(tmp_path), rows_per_batch=64, seed=1)
    again = batches.batch(batches.batches_per_epoch).rows.codes
    assert not np.array_equal(batches.batch(0).rows.codes, again)


def test_labels_stay_with_their_rows(tmp_path):
    write(tmp_path, rows=70_000)
    batches = Shuffled(Matrix.open(tmp_path), rows_per_batch=200, seed=1)
    for step in (0, 326, 327, 1000):  # 327 takes from two groups of blocks
        batch = batches.batch(step)
        assert np.array_equal(batch.labels[:, 0], batch.rows.codes[:, 0])


def mapped_bytes() -> int:
    """Resident bytes of this process that belong to files."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssFile:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is mapped")
def test_a_matrix_that_was_read_does_not_stay_in_memory(tmp_path):
    write(tmp_path, rows=70_000, numbers=250)  # 70 MB
    matrix = Matrix.open(tmp_path)
    before = mapped_bytes()
    for _ in matrix.blocks(0):
        pass
    batches = Shuffled(matrix, rows_per_batch=2_000, seed=1)
    for step in range(batches.batches_per_epoch):
        batches.batch(step)
    assert mapped_bytes() - before < 20e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is mapped")
def test_rows_far_apart_do_not_bring_in_the_whole_file(tmp_path, monkeypatch):
    write(tmp_path, rows=70_000, numbers=250)
    matrix, most = Matrix.open(tmp_path), []
    forget = Matrix.forget
    monkeypatch.setattr(Matrix, "forget", lambda self: (most.append(mapped_bytes()), forget(self)))
    before = mapped_bytes()
    matrix.take(matrix.sample(0, limit=16_000))
    assert max(most) - before < 30e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is mapped")
def test_rows_from_all_over_a_matrix_do_not_bring_it_into_memory(tmp_path, monkeypatch):
    prepared = write(tmp_path, rows=70_000, numbers=250)  # 70 MB
    matrix, before, most = Matrix.open(tmp_path), mapped_bytes(), []
    forget = Matrix.forget
    monkeypatch.setattr(
        Matrix, "forget", lambda one: (most.append(mapped_bytes() - before), forget(one))
    )
    monkeypatch.setattr("training.matrix.BYTES_PER_READ", 8 * 2**20)
    rows = np.random.default_rng(0).permutation(np.arange(0, 70_000, 40))
    found = matrix.take(rows)
    assert max(most) < 30e6
    assert np.array_equal(found.numeric, prepared.numeric[rows])
