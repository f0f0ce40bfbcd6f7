"""A careful script: read a file into a frame, run the model on some rows at a time, write.

With one thread in ONNX Runtime, a pool of processes takes the files; with more, a plain loop.
"""

from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd
from common import CORES, listed, task

job = task()


def embed(source: Path, dest: Path) -> None:
    frame = pd.read_parquet(source, columns=job.columns, page_checksum_verification=True)
    inputs = {name: frame[name].to_numpy(np.float64) for name in job.numbers}
    inputs |= {name: frame[name].fillna("").to_numpy(object) for name in job.texts}
    inputs |= {name: np.stack(frame[name].to_numpy()) for name, _ in job.vectors}
    embedding = pd.arrays.ArrowExtensionArray(listed(job.embed(inputs)))
    result = frame[list(job.passed)].assign(embedding=embedding)
    result.to_parquet(dest, index=False, write_page_checksum=True)


if job.threads == 1:
    with Pool(CORES) as pool:
        pool.starmap(embed, job.files)
else:
    for source, dest in job.files:
        embed(source, dest)
