"""The denoising autoencoder of pytorch_tabular: pretrained by its own method, then asked for codes.

Called as ``NAME.py SOURCE OUT EPOCHS ROWS_PER_BATCH DIM``; OUT gets ``embedding.npy``. Numbers are
imputed with the median before, because it refuses missing ones. Its encoder ends in a layer of DIM.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig
from pytorch_tabular.ssl_models import DenoisingAutoEncoderConfig

source, out, epochs, rows_per_batch, dim = sys.argv[1:6]
torch.set_num_threads(1)
table = pd.read_parquet(source).drop(columns=["row_id", "label"])
numbers = [name for name in table if name.startswith("n")]
categories = [name for name in table if name.startswith("c")]
table[numbers] = table[numbers].fillna(table[numbers].median())
with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it leaves files
    model = TabularModel(
        data_config=DataConfig(
            target=None, continuous_cols=numbers, categorical_cols=categories,
            handle_missing_values=True, normalize_continuous_features=True,
        ),
        model_config=DenoisingAutoEncoderConfig(
            encoder_config=CategoryEmbeddingModelConfig(
                task="backbone", layers=f"256-{dim}", activation="ReLU"
            ),
            decoder_config=CategoryEmbeddingModelConfig(
                task="backbone", layers=f"{dim}-256", activation="ReLU"
            ),
        ),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(
            batch_size=int(rows_per_batch), max_epochs=int(epochs), early_stopping=None,
            checkpoints=None, load_best=False, accelerator="cpu", progress_bar="none",
            trainer_kwargs={"enable_model_summary": False, "default_root_dir": folder},
        ),
        verbose=False,
    )  # fmt: skip
    model.pretrain(table)
network = model.model.eval()
codes = []
with torch.no_grad():
    for batch in model.datamodule.prepare_inference_dataloader(table):
        codes.append(network.predict(batch).numpy())
np.save(Path(out, "embedding.npy"), np.concatenate(codes).astype(np.float32))
