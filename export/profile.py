"""The profile of the training table: counted by the sealed models, as every later run counts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bundle import Bundle, Manifest
from pipeline.encoder import Encoder, Scorer
from pipeline.profile import MOST_BLOCKS
from pipeline.profiling import Sample, places_of, profile_of, things_of
from training.blocks import BLOCK, SEEN

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

_SPECIAL = ("unknown", "null", "rare")


class _Rows(NamedTuple):
    """The rows of one block, and which of them the model learnt from."""

    batch: pa.RecordBatch
    seen: pa.Array


def profile(manifest: Manifest, files: Mapping[str, bytes], checkpoint: Checkpoint) -> bytes:
    """The bytes of ``profile.json``: gauges, and the counts of the checkpoint's profiled rows.

    The models are opened from a bundle of their own: what counts here is what counts in every run.
    """
    with tempfile.TemporaryDirectory(prefix="parquet2vec-") as folder:
        bundle = Bundle.write(Path(folder) / "bundle", manifest=manifest, files=dict(files))
        encoder, scorer = Encoder(bundle), Scorer(bundle)
    samples = [_sample(rows, encoder, scorer) for rows in _blocks(checkpoint)]
    labels = {
        category.column: (*_SPECIAL, *map(str, category.kept))
        for category in checkpoint.prologue.categories.columns
    }
    things = things_of(manifest.feature_schema, dim=manifest.dim, scored=True)
    rows = int(checkpoint.training_data["rows"])
    return profile_of(samples, things, labels=labels, rows=rows).to_bytes()


def _sample(rows: _Rows, encoder: Encoder, scorer: Scorer) -> Sample:
    """The values of one block; the error only of rows that the model did not learn from."""
    batch = rows.batch
    sample = Sample(places_of(batch.num_rows, batch.num_rows))
    inputs = encoder.inputs(batch)
    new = batch.filter(pc.invert(rows.seen))
    sample.add(inputs, encoder.encode_inputs(inputs), None)
    sample.errors = [scorer.score(new)]
    return sample


def _blocks(checkpoint: Checkpoint) -> Iterator[_Rows]:
    """The profiled rows block by block; without any, pieces of the held-out rows."""
    names = [column.name for column in checkpoint.schema.features]
    table = checkpoint.profiled
    if table is None:
        held_out = checkpoint.held_out
        pieces = np.arange(held_out.num_rows) * MOST_BLOCKS // max(1, held_out.num_rows)
        table = held_out.append_column(BLOCK, pa.array(pieces.astype(np.int32)))
        table = table.append_column(SEEN, pa.array(np.zeros(held_out.num_rows, bool)))
    numbers = table[BLOCK].to_numpy()
    for number in np.unique(numbers):
        start, stop = np.searchsorted(numbers, [number, number + 1])
        (batch,) = table.slice(start, stop - start).combine_chunks().to_batches()
        yield _Rows(batch.select(names), batch.column(SEEN))
