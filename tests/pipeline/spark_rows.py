"""Reads a folder of Parquet files with Spark and writes what it saw, in order of `id`, as JSON.

Run by the Python of an environment that has Spark: `python spark_rows.py FOLDER OUT`.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

folder, out = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "1")
    .getOrCreate()
)
frame = spark.read.parquet(folder)
rows = [row.asDict() for row in frame.orderBy("id").collect()]
Path(out).write_text(json.dumps({"types": dict(frame.dtypes), "rows": rows}, default=str))
spark.stop()
