"""What an evaluation found, as strict models: the JSON document beside every report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config import Config

Task = Literal["two classes", "classes", "numbers"]
Representation = Literal["embedding", "PCA", "prepared PCA", "random", "raw"]
ProbeName = Literal["linear", "kNN", "trees"]
VerdictKind = Literal["embedding", "pca_is_enough", "pca_is_better", "raw_is_better", "unprobed"]


class Score(Config):
    """One probe on one representation: test score, its standard error, wall seconds."""

    representation: Representation
    probe: ProbeName
    score: float = Field(description="ROC AUC, accuracy or R² on the test rows; see `metric`.")
    standard_error: float = Field(description="By bootstrap over the test rows.")
    fit_seconds: float
    predict_seconds: float


class Lead(Config):
    """How far the embedding is ahead of another representation by the same probe.

    In points (hundredths of the metric), with a paired standard error: both scores on the same
    resampled rows.
    """

    over: Representation
    probe: ProbeName
    points: float
    standard_error: float


class Encoding(Config):
    """One representation: its width, and the seconds it took to compute it for all rows."""

    representation: Representation
    columns: int
    seconds: float
    rows: int


class LatentHealth(Config):
    """Whether the codes of the test rows are alive and different.

    An active unit varies by more than a hundredth of what its training variance (1) promises.
    """

    dim: int
    active_units: int
    max_correlation: float = Field(description="Largest |correlation| between two active units.")
    least_variance: float
    greatest_variance: float
    merged_rows: int = Field(description="Rows that differ in the table but share one vector.")


class ColumnError(Config):
    """Reconstruction error of one column; 1 is no better than its mean or commonest value.

    Squared error for numbers (clipped at ±5 deviations), share of wrong values for categories and
    booleans, each over that of always guessing what was usual in training. Missing cells are left
    out.
    """

    column: str
    kind: str
    error: float
    pca_error: float


class HiddenColumn(Config):
    """A column blanked in the input and predicted back from the code by ridge regression: R²."""

    column: str
    embedding: float
    pca: float


class HiddenColumns(Config):
    """How well codes predict columns they were not shown: the mean R² over columns."""

    embedding: float
    pca: float
    lead_points: float
    standard_error: float = Field(description="Of the lead, by bootstrap over the test rows.")
    columns: tuple[HiddenColumn, ...]


class Map(Config):
    """Test rows in two dimensions: coordinates, and the label (class number or value)."""

    axes: tuple[str, str]
    x: tuple[float, ...]
    y: tuple[float, ...]
    label: tuple[float, ...] | None = None


class RowCounts(Config):
    """Rows used, rows there were, and rows left out for want of a label."""

    train: int
    train_available: int
    test: int
    test_available: int
    unlabelled: int


class Verdict(Config):
    """The answer first: a headline, and the sentences that qualify it."""

    kind: VerdictKind
    headline: str
    sentences: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Headline and sentences as one paragraph."""
        return " ".join((self.headline, *self.sentences))


class Evaluation(Config):
    """Probes of a bundle's embedding against PCA, random projection and the raw columns.

    All scores are of rows the encoder was not trained on.
    """

    bundle: str = Field(description="Fingerprint of the bundle.")
    recipe: str
    dim: int
    table_columns: int = Field(description="Feature columns of the table.")
    label: str | None
    task: Task | None
    metric: str | None
    classes: tuple[str, ...] = ()
    learnt_from: dict[str, int] = Field(
        default_factory=dict,
        description="Labels that the encoder learnt from, and its training rows that had them.",
    )
    test_rows_are: str = Field(description="Where the test rows come from, in words.")
    rows: RowCounts
    seed: int
    scores: tuple[Score, ...] = ()
    leads: tuple[Lead, ...] = ()
    encodings: tuple[Encoding, ...]
    hidden_columns: HiddenColumns | None = None
    health: LatentHealth
    reconstruction: tuple[ColumnError, ...]
    map: Map
    verdict: Verdict
    notes: tuple[str, ...] = ()
    seconds: float

    def score(self, representation: Representation, probe: ProbeName = "linear") -> Score:
        """The score of `probe` on `representation`; KeyError when nothing was probed."""
        for found in self.scores:
            if (found.representation, found.probe) == (representation, probe):
                return found
        raise KeyError((representation, probe))

    def lead(self, over: Representation, probe: ProbeName = "linear") -> Lead:
        """The embedding's lead over another representation; KeyError when nothing was probed."""
        for found in self.leads:
            if (found.over, found.probe) == (over, probe):
                return found
        raise KeyError((over, probe))
