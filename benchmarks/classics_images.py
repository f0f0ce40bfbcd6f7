"""MNIST as the product sees it: one image column, prepared by a fitted prologue, on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.prologue import Prepared, Prologue
from pipeline.source import open_source
from training.conditions import classes_of
from training.layout import Layout
from training.matrix import TRAIN, VALIDATION, Matrix, MatrixWriter
from training.preparation import infer_schema
from training.spec import TrainingJob

SIDE = 28
HELD_BACK = 2_000
"""Training images kept for early stopping; the test images are never looked at in training."""
ROWS = 10_000

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Training images on disk, and test images in memory.

    `test` [10,000, 784] holds pixels from 0 to `brightest`, `digits` what they show.
    """

    matrix: Matrix
    layout: Layout
    prologue: Prologue
    test: Pixels
    digits: npt.NDArray[np.int64]
    brightest: int

    def prepared(self, pixels: Pixels) -> Prepared:
        """Images [n, 784] as the network reads them."""
        return self.prologue.run(_table(pixels, np.zeros(len(pixels), np.int64)))

    def pixels(self, numeric: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Reconstructions in prepared space [n, 784] as pixels between 0 and 1."""
        (fitted,) = self.prologue.to_json()["vectors"]
        scale, mean = np.asarray(fitted["scale"], np.float64), np.asarray(fitted["mean"])
        return np.clip((numeric * scale + mean) / self.brightest, 0, 1)


def grey(folder: Path, work: Path) -> Images:
    """All 256 shades, as MNIST has them."""
    train, test = (_read(folder / f"{part}.parquet") for part in ("train", "test"))
    return _images(work / "grey", train, test, copies=1, brightest=255)


def binary(folder: Path, work: Path, *, copies: int = 5) -> Images:
    """Black or white, drawn with the shade as the chance of white (Burda et al. 2016).

    Training images are drawn `copies` times, where the source draws them anew in each epoch.
    """
    random = np.random.default_rng(0)
    train, test = (_read(folder / f"{part}.parquet") for part in ("train", "test"))
    drawn = [_drawn(train[0], random) for _ in range(copies)]
    many = np.concatenate(drawn), np.tile(train[1], copies)
    return _images(
        work / "binary", many, (_drawn(test[0], random), test[1]), copies=copies, brightest=1
    )


def _drawn(pixels: Pixels, random: np.random.Generator) -> Pixels:
    return (random.random(pixels.shape, np.float32) * 255 < pixels).astype(np.uint8)


def _read(path: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    rows = pq.read_table(path, columns=["pixels", "label"]).combine_chunks()
    pixels = rows["pixels"].chunk(0).values.to_numpy().reshape(-1, SIDE**2)
    return pixels, rows["label"].to_numpy().astype(np.int64)


def _table(pixels: Pixels, digits: npt.NDArray[np.int64]) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(pixels).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, SIDE**2)
    return pa.table({"pixels": column, "label": digits})


def _images(
    work: Path,
    train: tuple[Pixels, npt.NDArray[np.int64]],
    test: tuple[Pixels, npt.NDArray[np.int64]],
    *,
    copies: int,
    brightest: int,
) -> Images:
    work.mkdir(parents=True, exist_ok=True)
    prologue = _prologue(work, train)
    # The last images of every copy are held back together.
    place = np.arange(len(train[0])) % (len(train[0]) // copies)
    split = np.where(place < len(train[0]) // copies - HELD_BACK, TRAIN, VALIDATION)
    rows_on_disk = work / "rows"
    if not rows_on_disk.exists():
        with (
            _appearing(rows_on_disk) as own,
            MatrixWriter(own, numbers=SIDE**2, ranks=0, categories=0, labels=1) as writer,
        ):
            for start in range(0, len(train[0]), ROWS):
                rows = slice(start, start + ROWS)
                pixels, digits = train[0][rows], train[1][rows]
                writer.append(
                    prologue.run(_table(pixels, digits)),
                    split=split[rows].astype(np.uint8),
                    labels=digits[:, None].astype(np.float64),
                )
    matrix, layout = Matrix.open(rows_on_disk), Layout.of(prologue)
    return Images(matrix, layout, prologue, *test, brightest)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A place to write what then appears at `path` as a whole, unless another was first."""
    own = path.with_name(f".{path.name}.{os.getpid()}")
    yield own
    try:
        if own.is_dir():
            own.rename(path)
        else:
            os.link(own, path)  # never in the place of one that somebody reads
            own.unlink()
    except OSError:
        if not path.exists():
            raise
        shutil.rmtree(own) if own.is_dir() else own.unlink()


def _prologue(work: Path, train: tuple[Pixels, npt.NDArray[np.int64]]) -> Prologue:
    """Fitted on all training images, with the digits as what a decoder may be told."""
    path = work / "train.parquet"
    table = _table(*train)
    if not path.exists():
        with _appearing(path) as own:
            pq.write_table(table.slice(0, ROWS), own)  # enough to tell what the columns are
    job = TrainingJob(
        source=str(path),
        out=str(work / "bundle"),
        label=("label",),
        columns={"pixels": {"kind": "image", "shape": [SIDE, SIDE]}},
    )
    schema = infer_schema(job, open_source(str(path)))
    prologue = Prologue.fit(iter(table.to_batches(max_chunksize=ROWS)), schema)
    prologue.label = classes_of(schema, train[1].astype(np.float64), {})
    return prologue
