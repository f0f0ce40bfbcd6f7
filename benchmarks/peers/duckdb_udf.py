"""An Arrow UDF over one struct of all features; the engine decides on 2,048 rows a call."""

import duckdb
import pyarrow as pa
from common import CORES, listed, task

job = task()


def embed(features: pa.ChunkedArray) -> pa.Array:
    rows = features.combine_chunks() if isinstance(features, pa.ChunkedArray) else features
    return listed(job.embed(job.inputs(rows.field)))


database = duckdb.connect()
database.execute(f"set threads = {CORES}")
database.execute("set preserve_insertion_order = false")
source = f"read_parquet('{job.source}/*.parquet')"
names = ", ".join(job.features)
fields = database.execute(f"describe select {names} from {source}").fetchall()
kind = duckdb.struct_type({name: duckdb.type(type_) for name, type_, *_ in fields})
database.create_function(
    "embed",
    embed,
    [kind],
    duckdb.type(f"FLOAT[{job.dim}]"),
    type="arrow",
    null_handling="special",
)
packed = ", ".join(f"{name} := {name}" for name in job.features)
query = f"select {', '.join(job.passed)}, embed(struct_pack({packed})) as embedding from {source}"
database.execute(f"copy ({query}) to '{job.dest}/part.parquet' (format parquet)")
