"""A dask frame of row groups, mapped on threads."""

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from common import CORES, listed, task

job = task()
KIND = pa.list_(pa.float32(), job.dim)


def embed(frame: pd.DataFrame) -> pd.DataFrame:
    inputs = {name: frame[name].to_numpy(np.float64) for name in job.numbers}
    inputs |= {name: frame[name].fillna("").to_numpy(object) for name in job.texts}
    inputs |= {name: np.stack(frame[name].to_numpy()) for name, _ in job.vectors}
    embedding = pd.arrays.ArrowExtensionArray(listed(job.embed(inputs)))
    return frame[list(job.passed)].assign(embedding=embedding)


with dask.config.set(scheduler="threads", num_workers=CORES):
    frame = dd.read_parquet(job.source, columns=job.columns, split_row_groups=1)
    meta = frame._meta[list(job.passed)].assign(
        embedding=pd.Series(dtype=pd.ArrowDtype(KIND), index=frame._meta.index)
    )
    frame.map_partitions(embed, meta=meta).to_parquet(
        job.dest, write_index=False, write_page_checksum=True
    )
