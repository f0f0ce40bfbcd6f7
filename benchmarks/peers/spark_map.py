"""Spark: mapInArrow over Arrow record batches, local threads."""

import os
import sys
from collections.abc import Iterator

import pyarrow as pa
from common import CORES, listed, task
from pyspark.sql import SparkSession

os.environ["PYSPARK_PYTHON"] = sys.executable
job = task()


def embed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        vectors = pa.array(listed(job.embed(job.inputs(batch.column))), pa.list_(pa.float32()))
        passed = [batch.column(name) for name in job.passed]
        yield pa.RecordBatch.from_arrays([*passed, vectors], names=[*job.passed, "embedding"])


session = (
    SparkSession.builder.master(f"local[{CORES}]")
    .config("spark.driver.memory", "4g")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(job.rows))
    .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    .config("spark.hadoop.parquet.page.verify-checksum.enabled", "true")
    .getOrCreate()
)
table = session.read.parquet(job.source).select(*job.columns)
kinds = [f"{name} {table.schema[name].dataType.simpleString()}" for name in job.passed]
schema = ", ".join([*kinds, "embedding array<float>"])
table.mapInArrow(embed, schema).write.mode("overwrite").parquet(job.dest)
session.stop()
