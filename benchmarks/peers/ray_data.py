"""Ray Data: up to one actor per core, batches as Arrow tables."""

import pyarrow as pa
import ray
from common import CORES, listed, task

job = task()


class Embed:
    def __call__(self, table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        vectors = listed(job.embed(job.inputs(lambda name: table[name].chunk(0))))
        return table.select(list(job.passed)).append_column("embedding", vectors)


ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False)
table = ray.data.read_parquet(job.source, columns=job.columns)
# Actors on every core would leave none to read with.
table = table.map_batches(
    Embed, batch_size=job.rows, batch_format="pyarrow", concurrency=(1, CORES)
)
table.write_parquet(job.dest)
ray.shutdown()
