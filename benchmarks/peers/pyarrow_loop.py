"""Record batches through the model, one thread per core, each on its own files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import CORES, listed, task

job = task()


def embed(paths: tuple[Path, Path]) -> None:
    source = pq.ParquetFile(paths[0], page_checksum_verification=True)
    fields = [source.schema_arrow.field(name) for name in job.passed]
    schema = pa.schema([*fields, pa.field("embedding", pa.list_(pa.float32(), job.dim))])
    with pq.ParquetWriter(
        paths[1], schema, use_dictionary=False, write_page_checksum=True
    ) as writer:
        for batch in source.iter_batches(65_536, columns=job.columns, use_threads=False):
            vectors = listed(job.embed(job.inputs(batch.column)))
            passed = [batch.column(name) for name in job.passed]
            writer.write_batch(pa.RecordBatch.from_arrays([*passed, vectors], schema=schema))


with ThreadPoolExecutor(CORES) as pool:
    list(pool.map(embed, job.files))
