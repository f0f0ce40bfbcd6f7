"""A lazy scan, streamed through a Python function, into a sink."""

from pathlib import Path

import numpy as np
import polars as pl
from common import task

job = task()


def embed(frame: pl.DataFrame) -> pl.DataFrame:
    inputs = {
        name: frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for name in job.numbers
    }
    inputs |= {name: frame[name].fill_null("").to_numpy().astype(object) for name in job.texts}
    inputs |= {name: np.ascontiguousarray(frame[name].to_numpy()) for name, _ in job.vectors}
    vectors = pl.Series("embedding", job.embed(inputs), pl.Array(pl.Float32, job.dim))
    return frame.select(job.passed).with_columns(vectors)


scan = pl.scan_parquet(Path(job.source, "*.parquet")).select(job.columns)
fields = {name: kind for name, kind in scan.collect_schema().items() if name in job.passed}
schema = fields | {"embedding": pl.Array(pl.Float32, job.dim)}
vectors = scan.map_batches(embed, schema=schema, streamable=True)
vectors.sink_parquet(Path(job.dest, "part.parquet"), compression="snappy", engine="streaming")
