"""The script people write first: whole files, one call of the model each, nothing tuned."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pandas as pd
from common import listed, task

job = task()
session = ort.InferenceSession(str(Path(job.bundle, "encoder.onnx")))

for source, dest in job.files:
    frame = pd.read_parquet(source)
    inputs = {name: frame[name].to_numpy(np.float64) for name in job.numbers}
    inputs |= {name: frame[name].fillna("").to_numpy(object) for name in job.texts}
    inputs |= {name: np.stack(frame[name].to_numpy()) for name, _ in job.vectors}
    (embedding,) = session.run(["embedding"], inputs)
    result = frame[list(job.passed)].assign(
        embedding=pd.arrays.ArrowExtensionArray(listed(embedding))
    )
    result.to_parquet(dest, index=False)
