"""What each command answers: strict models, printed as JSON or as a few lines for people."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config import Config
from pipeline.drift_report import DriftReport
from pipeline.generation import GenerationReport
from pipeline.job import JobReport
from pipeline.registries import ModelCleaning


class Probe(Config):
    """Test scores of the linear probe, of rows the encoder never saw, and the fit seconds."""

    metric: str
    rows: int
    scores: dict[str, float] = Field(description="Score by representation.")
    fit_seconds: dict[str, float] = Field(description="Seconds to fit, by representation.")


class TrainingResult(Config):
    """A sealed bundle, how it was chosen, and how it measures up."""

    bundle: str
    fingerprint: str
    recipe: str
    dim: int
    rows: int
    probe: Probe | None
    verdict: str
    report: str
    seconds: float
    left_out: tuple[str, ...] = Field(
        default=(), description="Columns that no kind reads, each with its type."
    )
    notes: tuple[str, ...] = Field(default=(), description="What else a reader should know.")


class EvaluationResult(Config):
    """Figures of an evaluation and where to read all of it."""

    bundle: str
    probe: Probe | None
    verdict: str
    report: str
    seconds: float


class Comparison(Config):
    """How alike drawn and real rows are; `auc` by sample and classifier, 0.5 = not told apart."""

    verdict: str
    auc: dict[str, dict[str, float]]
    largest_distance: float
    column: str = Field(description="The column whose distributions are farthest apart.")
    correlation_gap: float
    report: str


class GenerationResult(Config):
    """What was drawn, and how alike it is to real rows, if that was asked."""

    generation: GenerationReport
    comparison: Comparison | None = None


class Check(Config):
    """One check of the gate, and what it found."""

    name: Literal["intact", "score", "latents", "drift"]
    passed: bool
    found: str


class Promotion(Config):
    """Whether a candidate became the model in production, and why."""

    promoted: bool
    reason: str
    candidate: str
    current: str | None = Field(description="Where production leads after the decision.")
    candidate_score: float | None = None
    current_score: float | None = None
    checks: tuple[Check, ...] = ()


class RefreshResult(Config):
    """All steps of a refresh."""

    training: TrainingResult
    promotion: Promotion
    embedding: JobReport
    cleaning: ModelCleaning


class MonitorResult(Config):
    """What was found of a run, and the refresh that this set off, if it did."""

    drift: DriftReport
    refresh: RefreshResult | None = None


class PublishResult(Config):
    """What a feature store knows of a destination now."""

    repository: str
    project: str
    view: str
    definition: str = Field(description="File of the repository that holds the definitions.")
    destination: str
    run_id: str
    model: str
    join_keys: tuple[str, ...]
    event_time: str
    features: tuple[str, ...]
    dim: int
    online_run: str | None = Field(description="Version that the online store was loaded from.")
    loaded_from: str | None = Field(
        default=None, description="First event time that this run loaded into the online store."
    )
    notes: tuple[str, ...] = Field(default=(), description="What else a reader should know.")
    seconds: float


def current_of(destination: str) -> str:
    """What readers open at a destination; in a store there are no links, `resolve` lists files."""
    return destination if destination.startswith("s3://") else f"{destination}/current"
