"""The jobs that exist only up here: what `evaluate` and `refresh` are asked to do."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import Config, EmbeddingJob, LocalText, LocationText
from training.spec import TrainingJob


class EvaluationJob(Config):
    """Measure a bundle against PCA, raw columns and a random projection."""

    bundle: LocalText = Field(description="Folder of the trained model; its report is written.")
    source: LocationText = Field(
        description="Parquet file or folder; only rows that the model never saw count."
    )
    label: str = Field(description="Column that the probes predict.")
    test: LocationText | None = Field(
        default=None, description="Parquet file or folder whose rows are the test, instead."
    )


class RefreshSettings(Config):
    """What a refresh adds to a training and an embedding."""

    models: LocalText = Field(description="Folder of models: versions/<id>, and current.")
    margin: float = Field(
        default=0.01,
        ge=0,
        description="How far the candidate's probe may fall below the current model's.",
    )


class RefreshJob(RefreshSettings):
    """Train a candidate, promote it when it is not worse, embed with the promoted model."""

    train: TrainingJob = Field(description="Training; the refresh chooses `out`.")
    embed: EmbeddingJob = Field(description="Embedding; `bundle` is the promoted model.")
