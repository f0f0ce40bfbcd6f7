"""The autoencoder of row2vec, by the one call that it has for training and encoding a frame.

Called as ``NAME.py SOURCE OUT EPOCHS ROWS_PER_BATCH DIM``; OUT gets ``embedding.npy``.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import pandas as pd
import tensorflow as tf
from row2vec import learn_embedding

source, out, epochs, rows_per_batch, dim = sys.argv[1:6]
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
table = pd.read_parquet(source).drop(columns=["row_id", "label"])
codes = learn_embedding(
    table,
    embedding_dim=int(dim),
    max_epochs=int(epochs),
    batch_size=int(rows_per_batch),
    hidden_units=256,
    early_stopping=False,
    enable_logging=False,
)
np.save(Path(out, "embedding.npy"), codes.to_numpy(np.float32))
