"""What a training run is asked to do: the job, its budget, and one recipe made concrete.

Imports neither torch nor pyarrow, so that the command line can build its options from these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.config import ColumnOverride, Config, LocalText, LocationText, PixelColumns

View = Literal["standardised", "ranked", "both"]
Trunk = Literal["none", "dense", "conv", "ensemble"]
Activation = Literal["relu", "silu"]
Latent = Literal["point", "gaussian"]
Numbers = Literal["gaussian", "bernoulli"]
Condition = Literal["none", "columns", "label"]
Start = Literal["principal", "random", "none"]
Decoder = Literal["linear", "mlp", "conv"]
Corruption = Literal["none", "swap", "mask", "gaussian", "blocks"]
Penalty = Literal["none", "kl", "l1"]
Pretraining = Literal["none", "greedy"]
Schedule = Literal["one_cycle", "cosine", "constant"]
Target = Literal["none", "joint", "fine_tuned"]
Positives = Literal["self", "neighbours"]
Widths = tuple[Annotated[int, Field(ge=1)], ...]


class TrainingConfig(Config):
    """Budget and optimiser, the same for every candidate; counted in steps, never in seconds."""

    steps: int = Field(
        default=2000, ge=1, description="Gradient steps of each candidate that is trained."
    )
    rows_per_batch: int = Field(default=256, ge=2, description="Rows in one gradient step.")
    learning_rate: float = Field(
        default=1e-3, gt=0, description="Peak learning rate of AdamW's schedule."
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's decoupled weight decay.")
    clip_norm: float = Field(
        default=1.0, gt=0, description="Gradients are scaled down to this norm."
    )
    max_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="Rows taken from the source at most; a fixed hash picks them.",
    )
    evaluate_every: int = Field(
        default=200, ge=1, description="Steps between two looks at the validation split."
    )
    patience: int = Field(
        default=3, ge=1, description="Looks without a better validation loss before stopping."
    )
    checkpoint_every: int = Field(
        default=200, ge=1, description="Steps between two checkpoints a killed run resumes from."
    )
    threads: int = Field(default=1, ge=1, le=2, description="Threads torch computes with.")


class Choices(Config):
    """One choice along each axis of the family (DESIGN §4)."""

    view: View = Field(
        default="standardised", description="Views of the numbers that the encoder reads."
    )
    trunk: Trunk = Field(default="none", description="Network between the inputs and the code.")
    hidden: Widths = Field(default=(), description="Widths of the trunk's hidden layers.")
    activation: Activation = Field(
        default="relu",
        description="Of dense layers; silu is smooth and starts with He's weights, for deep ones.",
    )
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(16, 32),
        min_length=1,
        description="Channels behind each convolution; the last repeats until an image is small.",
    )
    correction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the trunk that stays after training without labels; below 1, the "
        "linear path beside it is held as it began.",
    )
    category_width: int = Field(
        default=0, ge=0, description="Learnt features per category column, beside the linear ones."
    )
    latent: Latent = Field(default="point", description="Distribution of the code.")
    kl_weight: float = Field(
        default=1.0, ge=0, description="Weight of a gaussian latent's KL divergence from N(0, I)."
    )
    free_bits: float = Field(
        default=0.0, ge=0, description="Nats of KL divergence that each unit has for nothing."
    )
    warm_up: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the run in which the KL weight rises from 0."
    )
    numbers: Numbers = Field(
        default="gaussian",
        description="Likelihood of numbers; bernoulli: shares between least and greatest value.",
    )
    condition: Condition = Field(
        default="none",
        description="What the decoder is told beside the code; columns enter the encoder as well.",
    )
    start: Start = Field(
        default="principal",
        description="Linear path from inputs to code: principal components, random, or none.",
    )
    decoder: Decoder = Field(default="linear", description="Form of the decoder.")
    decoder_hidden: Widths = Field(
        default=(), description="Widths of an mlp or conv decoder's hidden layers."
    )
    corruption: Corruption = Field(default="none", description="Noise put on the inputs.")
    corruption_rate: float = Field(
        default=0.0, ge=0, le=1, description="Share of columns hit (gaussian: its deviation)."
    )
    unknown_rate: float = Field(
        default=0.0, ge=0, lt=1, description="Share of category cells turned into 'unknown'."
    )
    contrast: float = Field(
        default=0.0, ge=0, description="Weight of InfoNCE between two corruptions of a row."
    )
    temperature: float = Field(default=0.3, gt=0, description="Temperature of InfoNCE.")
    positives: Positives = Field(
        default="self",
        description="What InfoNCE pairs a row with: itself, or half the time one like it.",
    )
    penalty: Penalty = Field(default="none", description="Penalty on the layer before the code.")
    penalty_weight: float = Field(default=0.0, ge=0, description="Weight of the penalty.")
    target_activation: float = Field(
        default=0.05, gt=0, lt=1, description="Mean activation that the penalty kl asks for."
    )
    pretraining: Pretraining = Field(
        default="none", description="greedy: layer by layer before all of them together."
    )
    layer_corruption: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        default=(),
        description="Share of each hidden layer's outputs hidden from the next in pretraining.",
    )
    schedule: Schedule = Field(default="one_cycle", description="Course of the learning rate.")
    target: Target = Field(
        default="none",
        description="Learning from labels: with the reconstruction, or after half of the run.",
    )
    target_weight: float = Field(
        default=1.0, gt=0, description="Weight of the labels beside the reconstruction's 1."
    )
    knots: int = Field(
        default=0, ge=0, le=64, description="Piecewise-linear features per ranked number."
    )
    members: int = Field(
        default=4, ge=1, le=64, description="Networks of an ensemble; their codes are averaged."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of an ensemble's units left out in a step."
    )
    screened: bool = Field(
        default=False,
        description="Columns that tell no more of the labels than their shuffled copies are shut.",
    )


class NetworkConfig(Choices):
    """Choices instead of a recipe's own: only those that were said count, and are written out."""

    @model_serializer(mode="wrap")
    def _said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name in self.model_fields_set}


class TrainingJob(Config):
    """One training run: where the rows are, what the columns mean, where the bundle goes."""

    source: LocationText = Field(description="Parquet file or folder to learn from.")
    out: LocalText = Field(description="Folder of the bundle to write.")
    recipe: str = Field(
        default="auto",
        description="How to learn, such as linear; 'auto' tries several and keeps the best.",
    )
    dim: int | None = Field(
        default=None, ge=1, le=4096, description="Width of the embedding; 4, 8 or 16 when absent."
    )
    key: tuple[str, ...] = Field(
        default=(), description="Columns that identify a row; passed through, never a feature."
    )
    label: tuple[str, ...] = Field(
        default=(), description="Columns that the report predicts from the vectors; never an input."
    )
    use_label: bool = Field(
        default=False, description="Let the encoder learn from the labels; rows may lack them."
    )
    event_time: str | None = Field(
        default=None,
        description="Timestamp of the row, passed through; the newest rows become the test.",
    )
    ignore: tuple[str, ...] = Field(default=(), description="Columns to leave out.")
    seed: int = Field(default=0, ge=0, description="Seed of split, weights, batches and noise.")
    columns: dict[str, ColumnOverride] = Field(
        default_factory=dict, description="Kind or role by column name, instead of the guess."
    )
    images: dict[str, PixelColumns] = Field(
        default_factory=dict, description="Images whose pixels are columns, by a name for each."
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="Budget and optimiser."
    )
    network: NetworkConfig = Field(
        default_factory=NetworkConfig, description="Choices instead of the recipe's own."
    )


class Head(Config):
    """A label that an encoder learns from: what was known of it in the training rows.

    `classes` are its values (numbers, or the codes of strings), `entropy` that of their shares in
    nats; `centre` and `deviation` are those of a label that is a number.
    """

    name: str
    task: Literal["two classes", "classes", "numbers"]
    labelled: int = Field(description="Training rows that have the label.")
    classes: tuple[float, ...] = ()
    entropy: float = 0.0
    centre: float = 0.0
    deviation: float = 1.0


class EncoderSpec(Choices):
    """One row of choices under its name, with the width of the embedding."""

    recipe: str = Field(description="Name of the row in `training.recipes.RECIPES`.")
    dim: int = Field(ge=1, description="Width of the embedding.")
    heads: tuple[Head, ...] = Field(
        default=(), description="Labels that are learnt from, where `target` says so."
    )
    trained: bool = Field(
        default=True, description="False: everything is closed form, no gradient step is made."
    )


def default_dim(width: int) -> int:
    """Width of the embedding when the user names none (DESIGN §10).

    `width` is the flattened prepared width: value slots of numbers, booleans and timestamps,
    a vector's length, and a category's one-hot columns; missing indicators do not count.

    >>> [default_dim(width) for width in (2, 10, 16, 28, 30, 784)]
    [2, 4, 8, 8, 16, 16]
    """
    if width < 16:
        return max(1, min(4, width))
    return 8 if width < 30 else 16
