"""The jobs that exist only up here: what `evaluate`, `generate`, `refresh` are asked to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from flows.schedule import CronText, TimezoneText
from pipeline.config import (
    Config,
    EmbeddingJob,
    GenerationJob,
    Grace,
    LocalText,
    LocationText,
    MonitorJob,
    parse_seconds,
)
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


class ComparedGenerationJob(GenerationJob):
    """Draw rows and, if asked, compare them with real ones."""

    compare: LocationText | None = Field(
        default=None,
        description="Parquet file or folder of real rows to compare with; needs the train extra.",
    )
    html: LocalText | None = Field(
        default=None,
        validate_default=True,
        description="Page of the comparison; default: generated.html in the bundle's report.",
    )

    @field_validator("html")
    @classmethod
    def _has_a_place_and_a_comparison(cls, value: str | None, given: ValidationInfo) -> str | None:
        if value is not None and given.data.get("compare") is None:
            raise ValueError("--compare is required with a page")
        stored = "://" in given.data.get("bundle", "")
        if value is None and given.data.get("compare") is not None and stored:
            raise ValueError("a local page is required where the bundle is in an object store")
        return value


def _is_duration(value: str) -> str:
    parse_seconds(value)
    return value


Margin = Annotated[
    float,
    Field(ge=0, description="How far the candidate's probe may fall below the current model's."),
]
KeepModels = Annotated[
    int,
    Field(ge=1, description="Models to keep, besides those that an alias or a rollback needs."),
]


class PublishSettings(Config):
    """Where published vectors are made known."""

    feast: LocalText = Field(
        description="Folder of a Feast repository: feature_store.yaml is there."
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="Name of the feature view; default: the name of the destination's folder.",
    )
    ttl: str | None = Field(
        default=None,
        description="How long before the time asked for a vector may be, such as 30d; default: "
        "any time.",
    )
    materialize: bool = Field(
        default=False, description="Load the newest vector of every key into the online store."
    )

    @field_validator("ttl")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_seconds(value)
        return value


class RefreshSettings(Config):
    """What a refresh adds to a training and an embedding."""

    models: LocationText = Field(
        description="Folder of models: versions/<id>, and the aliases production and candidate."
    )
    margin: Margin = 0.01
    keep: KeepModels = 5
    grace: Grace = "1d"


class PromotionJob(Config):
    """Let a version of a model take the place of the one in production, if the gate lets it."""

    models: LocationText = Field(description="Folder or prefix of models.")
    version: str = Field(default="candidate", description="Alias, version, or its beginning.")
    source: LocationText | None = Field(
        default=None, description="Table to compare on; default: the one it was trained on."
    )
    label: str | None = Field(
        default=None, description="Column to compare by; default: the one named in training."
    )
    destination: LocationText | None = Field(
        default=None, description="Folder of published vectors: what it embeds is to suit it."
    )
    margin: Margin = 0.01


class ModelRetentionJob(Config):
    """Delete models that nobody needs."""

    models: LocationText = Field(description="Folder or prefix of models.")
    keep: KeepModels = 5
    grace: Grace = "1d"
    destination: LocationText | None = Field(
        default=None, description="Vectors that are read: the model that made them stays, too."
    )


class RefreshJob(RefreshSettings):
    """Train a candidate, promote it when it is not worse, embed with the promoted model."""

    train: TrainingJob = Field(description="Training; the refresh chooses `out`.")
    embed: EmbeddingJob = Field(description="Embedding; `bundle` is the promoted model.")
    publish: PublishSettings | None = Field(
        default=None, description="Feature store to make the vectors known to."
    )


class PublishJob(PublishSettings):
    """Make the vectors of a destination known to a feature store."""

    destination: LocationText = Field(description="Folder of published vectors.")


Pause = Annotated[
    str,
    AfterValidator(_is_duration),
    Field(
        description="While drift lasts, time that a model trained since it began gets before drift "
        "trains another, such as 7d."
    ),
]


class MonitorSettings(Config):
    """What happens when what was embedded has drifted."""

    refresh: bool = Field(
        default=False, description="Train anew, and embed with the new model if it passes the gate."
    )
    pause: Pause = "7d"


class DriftJob(MonitorJob):
    """Compare what a run computed with training and the run before; refresh if it has drifted."""

    refresh: RefreshJob | None = Field(default=None, description="What drift sets off.")
    pause: Pause = "7d"


class InitJob(Config):
    """Write a project file for a table."""

    source: LocationText = Field(description="Parquet file or folder to learn from and embed.")
    dest: LocationText = Field(
        default="embeddings", description="Folder to publish to; readers open its `current`."
    )
    bundle: LocationText | None = Field(
        default=None, description="One model, in this folder; there already or to be trained."
    )
    models: LocationText | None = Field(
        default=None,
        description="Folder of models that `refresh` renews; 'models' unless --bundle is given.",
    )
    cron: CronText = Field(
        default="0 3 * * *", description="When to embed: minute hour day month weekday."
    )
    timezone: TimezoneText = Field(
        default="UTC", description="Time zone of --cron, such as Europe/Berlin."
    )
    out: LocalText = Field(
        default="parquet2vec.toml", description="File to write; it must not be there yet."
    )
